"""lfnn-v1: the convolutional networks of the first released code of LFNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Chain, Network, Readout
from lbench.networks.pooling import halving
from lbench.networks.spec import NetworkSpec
from lbench.step import Step


class NormBehindPool(Block):
    """A block that is pooled, then normalised, then dropped out.

    Args:
        layer: the affine map.
        norm: normalisation behind the pooling, or None.
        pool: side of the max pooling.
        dropout: share of emitted activations set to 0 in training.
    """

    def __init__(
        self, layer: Layer, norm: nn.Module | None, *, pool: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(layer, dropout=dropout)
        self.side = pool
        self.norm = norm

    def emit(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Return the input of the next block."""
        h = F.max_pool2d(h, self.side)
        return super().emit(h if self.norm is None else self.norm(h), s)


class LfnnV1(NetworkSpec):
    """One block per pair of 3x3 convolutions; its output is pooled and then normalised.

    These are the networks of github.com/Belis0811/LFNN, folder LFNN-BPfree, without the layer of
    workers, which belongs to the rule ``lfnn_l_v1``. The normalisation is behind the pooling and
    has no scale and shift: no local loss would train them there, and the next map can replace them.
    """

    small: ClassVar[Mapping[str, Any]] = {"widths": (36, 36, 36, 36)}

    widths: tuple[int, ...] = param(
        (128, 64, 64, 128), help="Channels of all convolutions; two make a block"
    )
    norm: Literal["batch", "none"] = param("batch", help="Normalisation behind each pooling")

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``conv1``, ``conv2``, … and the readout."""
        if not self.widths or len(self.widths) % 2 or min(self.widths) < 1:
            raise UsageError(
                "Network lfnn-v1 needs an even number of positive widths, but got "
                f"{list(self.widths)}.",
                "Give it two for each block, as in --net widths=128,64,64,128.",
            )
        inputs, *size = shape
        layers = []
        for number, width in enumerate(self.widths, start=1):
            name = f"conv{number}"
            layers.append(Layer(name, init.conv(name, inputs, width, 3)))
            inputs = width
        blocks = []
        for first, second in zip(layers[::2], layers[1::2], strict=True):
            pool = halving(size)
            size = [side // pool for side in size]
            behind = nn.BatchNorm2d(second.width, affine=False) if self.norm == "batch" else None
            last = NormBehindPool(second, behind, pool=pool, dropout=dropout)
            blocks.append(Chain([Block(first), last]))
        return Network(blocks, Readout(init.linear("readout", inputs, classes)))
