"""The part of a block's output that the noise of a unit can change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from lbench.layer import Layer
from lbench.network import Block, Pass
from lbench.networks.norm import LocalNorm


class Reach(NamedTuple):
    """The positions and channels of a block's h that a unit can change.

    Args:
        local: whether the unit can change its own position only.
        groups: number of groups that the channels are split into, in order, where the unit can
            change its own group only; 0 where it can change its own channel only.
    """

    local: bool
    groups: int

    def then(self, other: Reach) -> Reach:
        """Return the reach through this map followed by another."""
        return Reach(self.local and other.local, math.gcd(self.groups, other.groups))

    def contract(self, products: Tensor, u: Tensor) -> Tensor:
        """Return the noise times the sum of ``products`` over everything that it can change.

        Args:
            products: cotangent times tangent of the block's h, (batch, channels, …).
            u: noise at a layer's z, (batch, channels, …).
        """
        batch = len(u)
        sums = products.reshape(batch, self.groups, -1, products[0, 0].numel()).sum(2, keepdim=True)
        if not self.local:
            sums = sums.sum(3, keepdim=True)
        return (sums * u.reshape(batch, self.groups, -1, u[0, 0].numel())).view_as(u)


def reaches(block: Block, passes: Sequence[Pass]) -> list[Reach]:
    """Return what a block's units can change in its h, for each pass through one of its layers.

    Each unit of the last layer changes one entry of h; as in the paper, the groups are those of
    the last layer's affine map. For an earlier pass, all affine maps and normalisations behind it
    count. Shortcuts do not count: they keep positions and channels, or run in parallel to
    convolutions that mix all of them.

    Args:
        block: a block of the network.
        passes: the passes through the layers of the network, in order.
    """
    own = _own_passes(block, passes)
    last = own[-1].layer.affine
    reversed_reaches = [Reach(local=True, groups=last.groups if isinstance(last, nn.Conv2d) else 1)]
    for before, after in reversed(list(pairwise(own))):
        # If two passes differ in resolution, there is a stride or pooling between them.
        size = Reach(before.shape[1:] == after.shape[1:], groups=0)
        through = _affine(after.layer).then(_norm(after.layer.norm))
        if getattr(after.layer.affine, "in_channels", before.shape[0]) != before.shape[0]:
            through = Reach(local=False, groups=1)  # the layer reads something else, as attention
        reversed_reaches.append(size.then(through).then(reversed_reaches[-1]))
    return reversed_reaches[::-1]


def channel_groups(block: Block, passes: Sequence[Pass]) -> dict[Layer, int]:
    """Return the number of channel groups that each layer's parameters are split into, in order.

    A parameter of an output channel reaches what that channel's unit reaches in any pass, through
    the layer's normalisation. A parameter of a linear map can serve all channels, so linear maps
    have one group.

    Args:
        block: a block of the network.
        passes: the passes through the layers of the network, in order.
    """
    own = _own_passes(block, passes)
    counts: dict[Layer, int] = dict.fromkeys(block.layers, 0)
    for (layer, _), reach in zip(own, reaches(block, passes), strict=True):
        groups = _norm(layer.norm).then(reach).groups if isinstance(layer.affine, nn.Conv2d) else 1
        counts[layer] = math.gcd(counts[layer], groups)
    return counts


def contract_groups(
    products: Tensor, v: Mapping[str, Tensor], groups: Mapping[str, int]
) -> dict[str, Tensor]:
    """Multiply noise in weights, in place, by the sum of ``products`` over the group it feeds.

    Args:
        products: cotangent times tangent of the block's h, (batch, channels, …).
        v: noise by parameter name, with output channels along the first axis.
        groups: number of channel groups by parameter name.
    """
    sums = {
        count: products.reshape(len(products), count, -1).sum((0, 2))
        for count in set(groups.values())
    }
    for name, count in groups.items():
        v[name].view(count, -1).mul_(sums[count][:, None])
    return dict(v)


def _own_passes(block: Block, passes: Sequence[Pass]) -> list[Pass]:
    return [layer_pass for layer_pass in passes if layer_pass.layer in block.layers]


def _affine(layer: Layer) -> Reach:
    """Return the reach through a layer's affine map, and what the layer does in front of it.

    A linear map mixes everything; so may a layer that overrides ``transform``, as one does that
    normalises its input.
    """
    conv = layer.affine
    if isinstance(conv, nn.Conv2d) and type(layer).transform is Layer.transform:
        return Reach(local=set(conv.kernel_size) == {1}, groups=conv.groups)
    return Reach(local=False, groups=1)


def _norm(norm: nn.Module | None) -> Reach:
    """Return the reach through a normalisation; an unknown one is taken to mix everything."""
    if norm is None:
        return Reach(local=True, groups=0)
    if isinstance(norm, LocalNorm):
        return Reach(local=True, groups=norm.groups)
    return Reach(local=False, groups=1)
