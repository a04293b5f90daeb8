"""imagenet_resnet: the residual networks for large images of He et al. 2016."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Chain, Network
from lbench.networks.head import with_head
from lbench.networks.norm import norm
from lbench.networks.spec import NetworkSpec
from lbench.step import Step

EXPANSION = 4
"""Channels of a bottleneck's last convolution, per channel of its first."""
SMALL = 64
"""Largest side of images for which the stem is small unless an option says otherwise."""


class Stem(Block):
    """The first convolution.

    Args:
        layer: the layer.
        pooled: whether the maximum over 3x3 positions with stride 2 follows.
        dropout: share of emitted activations that is set to 0 in training.
    """

    def __init__(self, layer: Layer, *, pooled: bool, dropout: float = 0.0) -> None:
        super().__init__(layer, dropout=dropout)
        self.pooled = pooled

    def emit(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Return the next block's input: pooling and dropout of h."""
        return self.drop(F.max_pool2d(h, 3, 2, 1) if self.pooled else h, s)


class ResidualBlock(Block):
    """Convolutions one behind the other, and a shortcut that ends in front of the last activation.

    Args:
        layers: the layers, in the order in which they act; the last one's z includes the shortcut.
        downsample: the layer that maps the input to the shape of z; None where they are equal.
        dropout: share of emitted activations that is set to 0 in training.
    """

    def __init__(
        self, layers: Sequence[Layer], downsample: Layer | None, *, dropout: float = 0.0
    ) -> None:
        *inner, last = layers
        super().__init__(last, dropout=dropout)
        self.inner = nn.ModuleList(inner)
        self.downsample = downsample

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, in the order in which they act."""
        beside = [] if self.downsample is None else [self.downsample]
        return [*cast("list[Layer]", list(self.inner)), *beside, self.layer]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the last layer's z, which includes the shortcut."""
        h = x
        for layer in self.inner:
            h = self.activate(layer(h))
        z: Tensor = self.layer(h, x if self.downsample is None else self.downsample(x))
        return z


class ImagenetResnet(NetworkSpec):
    """One block for the first convolution, then one per residual block, in stages.

    The layers are those of torchvision's models, under their names (He et al. 2016,
    arXiv:1512.03385, with the stride of a bottleneck in its 3x3 convolution).
    """

    small: ClassVar[Mapping[str, Any]] = {
        "stages": (1, 1),
        "width": 12,
        "stem": "3x3",
        "hidden": (24, 24),
    }

    stages: tuple[int, ...] = param((2, 2, 2, 2), help="Residual blocks of each stage")
    bottleneck: bool = param(
        False, help="Residual blocks of 1x1, 3x3 and 1x1 convolutions instead of two of 3x3"
    )
    width: int = param(64, low=1, help="Channels of the first stage; they double per stage")
    stem: Literal["auto", "7x7", "3x3"] = param(
        "auto",
        help="First convolution: 7x7 with stride 2 and pooling, or 3x3 without; auto: 3x3 for "
        f"images of up to {SMALL} pixels per side",
    )
    block: Literal["residual", "stage"] = param(
        "residual", help="What a block of the network is: a residual block, or a whole stage"
    )
    hidden: tuple[int, ...] = param(
        (), help="Units of fully connected layers behind the last stage; each is a block"
    )
    norm: Literal["batch", "group", "none"] = param(
        "batch", help="Normalisation behind each convolution; group is one group per example"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``conv1``, ``layer1.0.conv1``, ``layer1.0.conv2``, … and the readout."""
        if not self.stages or min(self.stages) < 1:
            raise UsageError(
                f"The stages of a residual network need residual blocks, but got "
                f"{list(self.stages)}.",
                "Give it a number for each stage, as in --net stages=2,2,2,2.",
            )
        kernel, stride = (3, 1) if self._small_stem(shape) else (7, 2)
        first = self._layer(init, "conv1", shape[0], self.width, kernel, stride)
        blocks: list[Block] = [Stem(first, pooled=kernel == 7, dropout=dropout)]
        inputs = self.width
        for stage, count in enumerate(self.stages, start=1):
            width, residual = self.width * 2 ** (stage - 1), []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                name = f"layer{stage}.{index}"
                residual.append(self._residual(init, name, inputs, width, stride, dropout))
                inputs = residual[-1].width
            blocks += residual if self.block == "residual" else [Chain(residual)]
        return with_head("resnet", blocks, inputs, self.hidden, classes, init, dropout)

    def weight_names(self, layer: str, own: str) -> tuple[str, ...]:
        """Return torchvision's name; the fully connected layers are in no file."""
        if layer == "readout":
            layer = "fc"
        elif layer.startswith("hidden"):
            return ()
        elif own.startswith("norm."):
            *stage, conv = layer.split(".")
            norms = "1" if stage[-1:] == ["downsample"] else conv.replace("conv", "bn")
            layer = ".".join([*stage, norms])
        return (f"{layer}.{own.partition('.')[2]}",)

    def _small_stem(self, shape: tuple[int, int, int]) -> bool:
        return self.stem == "3x3" or (self.stem == "auto" and max(shape[1:]) <= SMALL)

    def _residual(
        self, init: Init, name: str, inputs: int, width: int, stride: int, dropout: float
    ) -> ResidualBlock:
        outputs = EXPANSION * width if self.bottleneck else width
        maps = (
            ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1))
            if self.bottleneck
            else ((inputs, width, 3, stride), (width, width, 3, 1))
        )
        layers = [
            self._layer(init, f"{name}.conv{number}", *sizes)
            for number, sizes in enumerate(maps, start=1)
        ]
        downsample = None
        if stride > 1 or inputs != outputs:
            downsample = self._layer(init, f"{name}.downsample.0", inputs, outputs, 1, stride)
        return ResidualBlock(layers, downsample, dropout=dropout)

    def _layer(
        self, init: Init, name: str, inputs: int, width: int, kernel: int, stride: int
    ) -> Layer:
        conv = init.conv(name, inputs, width, kernel, stride=stride, bias=self.norm == "none")
        return Layer(name, conv, norm(self.norm, width))
