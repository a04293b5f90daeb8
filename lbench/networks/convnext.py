"""convnext: ConvNeXt, convolutional networks in the form of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Chain, Network
from lbench.networks.head import with_head
from lbench.networks.norm import ChannelNorm, LayerScale
from lbench.networks.pooling import halving
from lbench.networks.residual import NormLayer, Unactivated
from lbench.networks.spec import NetworkSpec
from lbench.step import Step

SMALL = 64
"""Largest side of images for which the patches of the stem are small by default."""
WIDER = 4
"""Width of the second layer, per channel of the block."""


class ConvNextBlock(Unactivated):
    """A depthwise convolution, a wide layer with GELU and a narrow one, added to the input.

    Args:
        depthwise: the convolution, with the normalisation behind it.
        widen: the second layer, which GELU follows.
        narrow: the third one, with its scale; its z is that of the block.
        dropout: share of emitted activations that is set to 0 in training.
    """

    def __init__(
        self, depthwise: Layer, widen: Layer, narrow: Layer, *, dropout: float = 0.0
    ) -> None:
        super().__init__(narrow, dropout=dropout)
        self.depthwise = depthwise
        self.widen = widen

    @property
    def layers(self) -> list[Layer]:
        """Return the three layers, in the order in which they act."""
        return [self.depthwise, self.widen, self.layer]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return z, the scaled output of the narrow layer plus the input."""
        z: Tensor = self.layer(F.gelu(self.widen(self.depthwise(x))), x)
        return z


class ConvNext(NetworkSpec):
    """One block per residual block; the first of a stage also has the map that leads to it.

    The last normalisation is in the last block: its h is what the readout classifies.

    The layers are those of torchvision's models, under their names (Liu et al. 2022,
    arXiv:2201.03545, Section 2). 1x1 convolutions stand for its linear maps. A map between stages
    halves height and width while it can.
    """

    small: ClassVar[Mapping[str, Any]] = {
        "stages": (1, 1),
        "widths": (24, 36),
        "patch": 1,
        "scale": 0.5,
        "hidden": (24, 24),
    }

    stages: tuple[int, ...] = param((3, 3, 9, 3), help="Residual blocks of each stage")
    widths: tuple[int, ...] = param((96, 192, 384, 768), help="Channels of each stage")
    patch: int | None = param(
        None,
        low=1,
        help=f"Side and stride of the first convolution; none: 4, or 2 for images of up to {SMALL} "
        "pixels per side",
    )
    scale: float = param(1e-6, low=0.0, help="Initial factor on what a residual block adds")
    hidden: tuple[int, ...] = param(
        (), help="Units of fully connected layers behind the last stage; each is a block"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``features.0.0``, ``features.1.0.block.0``, … and the readout."""
        numbers = [*self.stages, *self.widths]
        if len(self.stages) != len(self.widths) or not numbers or min(numbers) < 1:
            raise UsageError(
                "Network convnext needs a number of residual blocks and of channels for each "
                f"stage, but got stages {list(self.stages)} and widths {list(self.widths)}.",
                "The default is --net stages=3,3,9,3 --net widths=96,192,384,768.",
            )
        size = list(shape[1:])
        default = 2 if max(size) <= SMALL else 4
        kernel = min(self.patch or default, *size)
        inputs, blocks = shape[0], []
        for stage, (count, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            name = f"features.{2 * stage}.{int(stage > 0)}"
            conv = init.conv(name, inputs, width, kernel, stride=kernel, padding=0)
            if stage:
                norm = NormLayer(f"features.{2 * stage}.0", init, inputs)
                leading = [Unactivated(norm), Unactivated(Layer(name, conv))]
            else:
                leading = [Unactivated(Layer(name, conv, ChannelNorm(width)))]
            residual: list[Block] = [
                self._block(init, f"features.{2 * stage + 1}.{index}", width, dropout)
                for index in range(count)
            ]
            blocks += [Chain([*leading, residual[0]]), *residual[1:]]
            size = [side // kernel for side in size]
            inputs, kernel = width, halving(size)
        last = NormLayer("classifier.0", init, inputs, "mean")
        blocks[-1] = Chain([blocks[-1], Unactivated(last, dropout=dropout)])
        return with_head("convnext", blocks, inputs, self.hidden, classes, init, dropout)

    def weight_names(self, layer: str, own: str) -> tuple[str, ...]:
        """Return torchvision's name; the fully connected layers are in no file."""
        part, _, tensor = own.partition(".")
        if layer.startswith("hidden"):
            return ()
        if layer == "readout":
            return (f"classifier.2.{tensor}",)
        parent, _, index = layer.rpartition(".")
        if tensor == "layer_scale":
            return (f"{parent.removesuffix('.block')}.layer_scale",)
        if part == "norm":
            index = "2" if parent.endswith(".block") else "1"
        return (f"{parent}.{index}.{tensor}",)

    def _block(self, init: Init, name: str, width: int, dropout: float) -> ConvNextBlock:
        names = [f"{name}.block.{index}" for index in (0, 3, 5)]
        wide = WIDER * width
        depthwise = init.conv(names[0], width, width, 7, groups=width)
        return ConvNextBlock(
            Layer(names[0], depthwise, ChannelNorm(width)),
            Layer(names[1], init.conv(names[1], width, wide, 1)),
            Layer(names[2], init.conv(names[2], wide, width, 1), LayerScale(width, self.scale)),
            dropout=dropout,
        )
