"""Parts of networks whose blocks add to their input: normalisations as layers, no activation."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block

EPS = 1e-6


class NormLayer(Layer):
    """Layer normalisation of the channels at each position, as a layer of its own.

    In front of a map, the gradient of a normalisation's scale and shift would need the transposed
    weights of that map. As a layer they have an output of their own, at which a rule can train
    them. The affine map is a 1x1 convolution of one channel per group, which begins as identity.

    Args:
        name: as in :class:`Layer`.
        init: makes the convolution.
        width: the number of channels.
        of: what is normalised: all positions, the first one alone, or the mean over all.
    """

    def __init__(
        self, name: str, init: Init, width: int, of: Literal["all", "first", "mean"] = "all"
    ) -> None:
        affine = init.conv(name, width, width, 1, groups=width)
        nn.init.ones_(affine.weight)
        nn.init.zeros_(affine.bias)  # type: ignore[arg-type]
        super().__init__(name, affine)
        self.of = of

    def transform(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape, or to one position."""
        if self.of == "first":
            x = x[:, :, :1, :1]
        elif self.of == "mean":
            x = x.mean((2, 3), keepdim=True)
        normed = F.layer_norm(x.movedim(1, -1), (x.shape[1],), eps=EPS).movedim(-1, 1)
        return super().transform(normed)


class Unactivated(Block):
    """A block whose h is its z: no activation follows its last layer."""

    def activate(self, z: Tensor) -> Tensor:
        """Return z itself."""
        return z
