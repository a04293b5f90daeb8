"""cnn: a small convolutional network whose widths are multiples of the class count."""

from __future__ import annotations

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

WIDTHS = (60, 60, 120, 120, 220, 220)


class Cnn(NetworkSpec):
    """One block per 3x3 convolution; every second block halves height and width while it can."""

    small: ClassVar[Mapping[str, Any]] = {"widths": (36, 36, 36)}

    widths: tuple[int, ...] | None = param(
        None, help="Channels; none: 60,60,120,120,220,220 rounded to multiples of the class count"
    )
    norm: Literal["batch", "group", "none"] = param(
        "batch", help="Normalisation behind each convolution; group is one group per example"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``conv1``, ``conv2``, … and the readout on the spatial mean."""
        widths = self.widths
        if widths is None:
            widths = tuple(max(1, round(width / classes)) * classes for width in WIDTHS)
        if not widths or min(widths) < 1:
            raise UsageError(
                f"Network cnn needs positive widths, but got {list(widths)}.",
                "Give it one for each convolution, as in --net widths=60,60,120.",
            )
        inputs, *size = shape
        blocks = []
        for number, width in enumerate(widths, start=1):
            name = f"conv{number}"
            pool = halving(size) if number % 2 == 0 else 1
            size = [side // pool for side in size]
            conv = init.conv(name, inputs, width, 3, bias=self.norm == "none")
            blocks.append(
                Block(Layer(name, conv, norm(self.norm, width)), pool=pool, dropout=dropout)
            )
            inputs = width
        return Network(blocks, Readout(init.linear("readout", inputs, classes)))
