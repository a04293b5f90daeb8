"""mlp-deep: any number of fully connected layers of one width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lbench.config import param
from lbench.init import Init
from lbench.network import Network
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec


class MlpDeep(NetworkSpec):
    """An ``mlp`` with the options width and depth, for studies of depth."""

    small: ClassVar[Mapping[str, Any]] = {"width": 24, "depth": 3}

    width: int = param(100, low=1, help="Units of every hidden layer")
    depth: int = param(8, low=1, help="Hidden layers")

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``fc1``, ``fc2``, … and the readout."""
        return Mlp(widths=(self.width,) * self.depth).build(init, shape, classes, dropout)
