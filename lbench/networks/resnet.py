"""resnet: the residual networks for small images of He et al. 2016."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout
from lbench.networks.norm import norm
from lbench.networks.spec import NetworkSpec
from lbench.step import Step

STAGES = 3


class Residual(Block):
    """Two convolutions and a shortcut around them, which ends in front of the last activation.

    Args:
        first: the first layer; the block's activation follows it too.
        second: the layer whose z includes the shortcut.
        stride: stride of the first convolution.
        dropout: share of emitted activations set to 0 in training.
    """

    def __init__(
        self, first: Layer, second: Layer, *, stride: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(second, dropout=dropout)
        self.first = first
        self.stride = stride

    @property
    def layers(self) -> list[Layer]:
        """Return the first and the second layer."""
        return [self.first, self.layer]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the second layer's z, which includes the shortcut."""
        hidden = self.activate(self.first(x))
        z: Tensor = self.layer(hidden, self.shortcut(x))
        return z

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the input, strided and padded with channels of 0 to z's shape (option A)."""
        x = x[:, :, :: self.stride, :: self.stride]
        missing = self.width - x.shape[1]
        return F.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2)) if missing else x


class Resnet(NetworkSpec):
    """One block for the first convolution, then one per pair with a shortcut, in three stages.

    Shortcuts have no parameters (option A of He et al. 2016, arXiv:1512.03385, Section 4.2).
    """

    small: ClassVar[Mapping[str, Any]] = {"depth": 8, "width": 12}

    depth: int = param(20, low=8, help="Layers with weights: 6n + 2, as 8, 20, 32, 56, 110")
    width: int = param(16, low=1, help="Channels of the first stage; they double per stage")
    norm: Literal["batch", "group", "none"] = param(
        "batch", help="Normalisation behind each convolution; group is one group per example"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``conv1``, ``stage1.1.first``, ``stage1.1.second``, … and the readout."""
        pairs, rest = divmod(self.depth - 2, 2 * STAGES)
        if rest:
            near = [6 * n + 2 for n in (pairs, pairs + 1)]
            raise UsageError(
                f"Network resnet has depth 6n + 2, but got {self.depth}.",
                f"The nearest are {near[0]} and {near[1]}.",
            )

        def layer(name: str, inputs: int, width: int, stride: int = 1) -> Layer:
            conv = init.conv(name, inputs, width, 3, stride=stride, bias=self.norm == "none")
            return Layer(name, conv, norm(self.norm, width))

        inputs = self.width
        blocks = [Block(layer("conv1", shape[0], inputs), dropout=dropout)]
        for stage in range(1, STAGES + 1):
            width = self.width * 2 ** (stage - 1)
            for pair in range(1, pairs + 1):
                name = f"stage{stage}.{pair}"
                stride = 2 if stage > 1 and pair == 1 else 1
                first = layer(f"{name}.first", inputs, width, stride)
                second = layer(f"{name}.second", width, width)
                blocks.append(Residual(first, second, stride=stride, dropout=dropout))
                inputs = width
        return Network(blocks, Readout(init.linear("readout", inputs, classes)))
