"""Where noise goes: the part of a block's output that a unit's directional derivative needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lbench.network import Block
from lbench.networks.norm import LocalNorm
from lbench.site import Site


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
            u: noise at a site's z, (batch, channels, …).
        """
        batch = len(u)
        sums = products.reshape(batch, self.groups, -1, products[0, 0].numel()).sum(2, keepdim=True)
        if not self.local:
            sums = sums.sum(3, keepdim=True)
        return (sums * u.reshape(batch, self.groups, -1, u[0, 0].numel())).view_as(u)


def reaches(block: Block, shapes: Mapping[str, torch.Size]) -> list[Reach]:
    """What the units at each of a block's sites can change in its h, in the order of the sites.

    The last site's units act on h one by one; as in the paper the groups are those of its map.
    From an earlier site on, all affine maps and normalisations behind it count. Shortcuts do not:
    they keep positions and channels, or run beside convolutions that mix them all.

    Args:
        shapes: of each site's z for one example, by the site's name.
    """
    last = block.sites[-1].affine
    found = [Reach(local=True, groups=last.groups if isinstance(last, nn.Conv2d) else 1)]
    for before, site in reversed(list(zip(block.sites[:-1], block.sites[1:], strict=True))):
        # Where two sites differ in resolution, a stride or pooling lies between them.
        size = Reach(shapes[before.name][1:] == shapes[site.name][1:], groups=0)
        found.append(size.then(_affine(site)).then(_norm(site.norm)).then(found[-1]))
    return found[::-1]


def channel_groups(block: Block, shapes: Mapping[str, torch.Size]) -> dict[Site, int]:
    """Into how many groups of channels, in order, each site's own parameters fall.

    A parameter of an output channel reaches what that channel's unit reaches, behind the site's
    normalisation. One of a linear map may serve all channels, so it is in no group of its own.

    Args:
        shapes: of each site's z for one example, by the site's name.
    """
    return {
        site: _norm(site.norm).then(reach).groups if isinstance(site.affine, nn.Conv2d) else 1
        for site, reach in zip(block.sites, reaches(block, shapes), strict=True)
    }


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


def _affine(site: Site) -> Reach:
    """Through a site's map; one that is no convolution mixes everything."""
    conv = site.affine
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
