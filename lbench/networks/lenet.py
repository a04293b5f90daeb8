"""lenet: the convolutional network of LeCun et al. 1998 with ReLU and max pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout
from lbench.networks.pooling import halving
from lbench.networks.spec import NetworkSpec

KERNEL = 5
SIDES = (32, 14, 5)
"""Sides of the inputs of the three convolutions for images of 32x32."""


class Lenet(NetworkSpec):
    """Three blocks of a 5x5 convolution, the first two pooled, and a fully connected block.

    The network follows BioTorch (Sanfiz & Akrout 2021, arXiv:2108.13446), which takes images of
    32x32 and has no ReLU behind the fully connected layer. A convolution whose input is smaller
    than in the original pads it to keep its size: for images of 28x28 this is the first alone.
    """

    small: ClassVar[Mapping[str, Any]] = {"widths": (36, 36, 36, 24)}

    widths: tuple[int, ...] = param(
        (6, 16, 120, 84), help="Channels of the three convolutions, then units"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``conv1``, ``conv2``, ``conv3``, ``fc1`` and the readout."""
        if len(self.widths) != len(SIDES) + 1 or min(self.widths) < 1:
            raise UsageError(
                f"Network lenet needs four positive widths, but got {list(self.widths)}.",
                "The default is --net widths=6,16,120,84.",
            )
        *channels, hidden = self.widths
        inputs, *size = shape
        blocks = []
        for number, (width, side) in enumerate(zip(channels, SIDES, strict=True), start=1):
            name = f"conv{number}"
            padding = 0 if min(size) >= side else KERNEL // 2
            size = [side + 2 * padding - KERNEL + 1 for side in size]
            pool = halving(size) if number < len(SIDES) else 1
            size = [side // pool for side in size]
            conv = init.conv(name, inputs, width, KERNEL, padding=padding)
            blocks.append(Block(Layer(name, conv), pool=pool, dropout=dropout))
            inputs = width
        linear = init.linear("fc1", inputs * math.prod(size), hidden)
        blocks.append(Block(Layer("fc1", linear), dropout=dropout))
        return Network(blocks, Readout(init.linear("readout", hidden, classes)))
