"""vgg: the convolutional networks with a fully connected layer of Nøkland & Eidnes 2019."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout
from lbench.networks.norm import norm
from lbench.networks.pooling import halving
from lbench.networks.spec import NetworkSpec


class Vgg(NetworkSpec):
    """One block per 3x3 convolution, some of them pooled, then one per fully connected layer.

    The defaults are vgg8b (arXiv:1901.06656 and its code). Pooling halves height and width while
    it can; odd sides are rounded down.
    """

    small: ClassVar[Mapping[str, Any]] = {
        "widths": (36, 36),
        "pools": (2,),
        "hidden": (24,),
        "multiplier": 1.0,
    }

    widths: tuple[int, ...] = param((128, 256, 256, 512, 512, 512), help="Channels")
    pools: tuple[int, ...] = param(
        (2, 4, 5, 6), help="Convolutions with 2x2 max pooling behind them, counted from 1"
    )
    hidden: tuple[int, ...] = param((1024,), help="Units of the fully connected layers")
    multiplier: float = param(1.0, low=0.01, help="Factor on all channels, rounded down")
    norm: Literal["batch", "group", "none"] = param(
        "batch", help="Normalisation behind each map; group is one group per example"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``conv1``, ``conv2``, …, ``fc1``, … and the readout."""
        channels = [int(width * self.multiplier) for width in self.widths]
        if not channels or min([*channels, *self.hidden]) < 1:
            raise UsageError(
                "Network vgg needs positive widths, but got "
                f"channels {channels} and hidden {list(self.hidden)}.",
                "Give it one for each layer, as in --net widths=128,256 --net hidden=1024.",
            )
        if not set(self.pools) <= set(range(1, len(channels) + 1)):
            raise UsageError(
                f"Network vgg has {len(channels)} convolutions, but got pools {list(self.pools)}.",
                "Count the convolutions from 1.",
            )
        bias = self.norm == "none"  # a normalisation has a shift of its own, or removes the bias
        inputs, *size = shape
        blocks = []
        for number, width in enumerate(channels, start=1):
            name = f"conv{number}"
            pool = halving(size) if number in self.pools else 1
            size = [side // pool for side in size]
            layer = Layer(
                name, init.conv(name, inputs, width, 3, bias=bias), norm(self.norm, width)
            )
            blocks.append(Block(layer, pool=pool, dropout=dropout))
            inputs = width
        inputs *= math.prod(size) if self.hidden else 1  # the readout averages over positions
        for number, width in enumerate(self.hidden, start=1):
            name = f"fc{number}"
            linear = init.linear(name, inputs, width, bias=bias)
            layer = Layer(name, linear, norm(self.norm, width, maps=False))
            blocks.append(Block(layer, dropout=dropout))
            inputs = width
        return Network(blocks, Readout(init.linear("readout", inputs, classes)))
