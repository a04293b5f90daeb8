"""Where noise goes: the part of a block's output that a unit's directional derivative needs."""

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
    """What a unit can change.

    Args:
        local: its own position alone.
        groups: channels fall, in order, into so many groups, and it changes its own alone; 0 for
            its own channel.
    """

    local: bool
    groups: int

    def then(self, other: Reach) -> Reach:
        """Through one map and another."""
        return Reach(self.local and other.local, math.gcd(self.groups, other.groups))

    def contract(self, products: Tensor, u: Tensor) -> Tensor:
        """The noise times the sum of ``products`` over all that it can have changed.

        Args:
            products: of the cotangent and the tangent of the block's h, (batch, channels, …).
            u: noise at a layer's z, (batch, channels, …).
        """
        batch = len(u)
        sums = products.reshape(batch, self.groups, -1, products[0, 0].numel()).sum(2, keepdim=True)
        if not self.local:
            sums = sums.sum(3, keepdim=True)
        return (sums * u.reshape(batch, self.groups, -1, u[0, 0].numel())).view_as(u)


def reaches(block: Block, passes: Sequence[Pass]) -> list[Reach]:
    """Return what a block's units can change in its h, for each pass through one of its layers.

    The last layer's units act on h one by one; as in the paper the groups are those of its map.
    From an earlier pass on, all affine maps and normalisations behind it count. Shortcuts do not:
    they keep positions and channels, or run beside convolutions that mix them all.

    Args:
        passes: through the layers of the network, in their order.
    """
    own = [each for each in passes if each.layer in block.layers]
    last = own[-1].layer.affine
    found = [Reach(local=True, groups=last.groups if isinstance(last, nn.Conv2d) else 1)]
    for before, after in reversed(list(pairwise(own))):
        # Where two passes differ in resolution, there is a stride or pooling between them.
        size = Reach(before.shape[1:] == after.shape[1:], groups=0)
        through = _affine(after.layer).then(_norm(after.layer.norm))
        found.append(size.then(through).then(found[-1]))
    return found[::-1]


def channel_groups(block: Block, passes: Sequence[Pass]) -> dict[Layer, int]:
    """Return into how many groups of channels, in order, each layer's own parameters fall.

    A parameter of an output channel reaches what that channel's unit reaches in any pass, behind
    the layer's normalisation. One of a linear map may serve all channels, so it is in no group of
    its own.

    Args:
        passes: through the layers of the network, in their order.
    """
    own = [each for each in passes if each.layer in block.layers]
    found: dict[Layer, int] = dict.fromkeys(block.layers, 0)
    for (layer, _), reach in zip(own, reaches(block, passes), strict=True):
        groups = _norm(layer.norm).then(reach).groups if isinstance(layer.affine, nn.Conv2d) else 1
        found[layer] = math.gcd(found[layer], groups)
    return found


def contract_groups(
    products: Tensor, v: Mapping[str, Tensor], groups: Mapping[str, int]
) -> dict[str, Tensor]:
    """Noise in weights, in place, times the sum of ``products`` over the group that it feeds.

    Args:
        products: of the cotangent and the tangent of the block's h, (batch, channels, …).
        v: noise by the parameter's name, output channels first.
        groups: of channels, by the parameter's name.
    """
    sums = {
        count: products.reshape(len(products), count, -1).sum((0, 2))
        for count in set(groups.values())
    }
    for name, count in groups.items():
        v[name].view(count, -1).mul_(sums[count][:, None])
    return dict(v)


def _affine(layer: Layer) -> Reach:
    """Through a layer's map; one that is no convolution mixes everything."""
    conv = layer.affine
    if isinstance(conv, nn.Conv2d):
        return Reach(local=set(conv.kernel_size) == {1}, groups=conv.groups)
    return Reach(local=False, groups=1)


def _norm(norm: nn.Module | None) -> Reach:
    """Through a normalisation; one that is not known mixes everything."""
    if norm is None:
        return Reach(local=True, groups=0)
    if isinstance(norm, LocalNorm):
        return Reach(local=True, groups=norm.groups)
    return Reach(local=False, groups=1)
