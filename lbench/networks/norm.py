"""Normalisations behind affine maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["batch", "group", "none"]


def norm(kind: Norm, width: int, *, maps: bool = True) -> nn.Module | None:
    """Return BatchNorm, GroupNorm of one group per example with learned scale and shift, or None.

    Args:
        kind: the normalisation; ``"group"`` of features without positions is layer normalisation.
        width: the number of channels or features.
        maps: whether the input has spatial positions.
    """
    if kind == "batch":
        return nn.BatchNorm2d(width) if maps else nn.BatchNorm1d(width)
    return nn.GroupNorm(1, width) if kind == "group" else None


class LocalNorm(nn.Module):
    """Normalises the channels of a group at each position to mean 0 and variance 1.

    This is the local layer normalisation of Ren et al. 2023 (arXiv:2210.03310, Section 5). It has
    no parameters.

    Args:
        groups: the number of groups of channels.
        eps: a number that is added to the variance.
    """

    def __init__(self, groups: int = 1, eps: float = 1e-6) -> None:
        super().__init__()
        self.groups = groups
        self.eps = eps

    def forward(self, z: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        grouped = z.reshape(len(z), self.groups, -1, *z.shape[2:])
        centred = grouped - grouped.mean(2, keepdim=True)
        scale = (centred.square().mean(2, keepdim=True) + self.eps).rsqrt()
        return (centred * scale).view_as(z)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of the channels at each position, with learned scale and shift.

    Args:
        width: the number of channels.
        eps: a number that is added to the variance.
    """

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__(width, eps=eps)

    def forward(self, z: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        return super().forward(z.movedim(1, -1)).movedim(-1, 1)


class LayerScale(nn.Module):
    """A learned factor per channel (Touvron et al. 2021, arXiv:2103.17239, Section 2).

    Args:
        width: the number of channels.
        value: the factor at the beginning.
    """

    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), value))

    def forward(self, z: Tensor) -> Tensor:
        """Multiply (batch, channels, height, width) by the factors."""
        return self.layer_scale * z


@contextmanager
def statistics_held(module: nn.Module) -> Iterator[None]:
    """Freeze BatchNorm's running statistics within the context; its graph is that of training."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    settings = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, settings, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
