"""mlp: fully connected ReLU layers."""

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
from lbench.networks.spec import NetworkSpec


class Mlp(NetworkSpec):
    """One block per hidden layer."""

    small: ClassVar[Mapping[str, Any]] = {"widths": (24, 24, 24)}

    widths: tuple[int, ...] | None = param(
        None, help="Units of the hidden layers; none: two layers of 26 units per class"
    )
    norm: Literal["batch", "group", "none"] = param(
        "none", help="Normalisation behind each layer; group is layer normalisation"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``fc1``, ``fc2``, … and the readout."""
        widths = (26 * classes, 26 * classes) if self.widths is None else self.widths
        if not widths or min(widths) < 1:
            raise UsageError(
                f"Network mlp needs positive widths, but got {list(widths)}.",
                "Give it one for each hidden layer, as in --net widths=260,260.",
            )
        inputs = math.prod(shape)
        blocks = []
        for number, width in enumerate(widths, start=1):
            name = f"fc{number}"
            linear = init.linear(name, inputs, width, bias=self.norm == "none")
            layer = Layer(name, linear, norm(self.norm, width, maps=False))
            blocks.append(Block(layer, dropout=dropout))
            inputs = width
        return Network(blocks, Readout(init.linear("readout", inputs, classes)))
