"""one-vs-all: fully connected layers whose width is proportional to the number of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec


class OneVsAll(NetworkSpec):
    """An ``mlp`` whose layers have the same number of units for each class.

    This is the network of the online experiments of Yin et al. 2023 (arXiv:2310.07885, Figures 3
    to 5), which the rule ``lfnn_online`` cuts into one network per class.
    """

    small: ClassVar[Mapping[str, Any]] = {"workers": (8, 8, 8)}

    workers: tuple[int, ...] = param((32,), help="Units per class in each hidden layer")

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``fc1``, ``fc2``, … and the readout."""
        if not self.workers or min(self.workers) < 1:
            raise UsageError(
                f"Network one-vs-all needs positive numbers of workers, but got "
                f"{list(self.workers)}.",
                "Give it one for each hidden layer, as in --net workers=32.",
            )
        widths = tuple(workers * classes for workers in self.workers)
        return Mlp(widths=widths).build(init, shape, classes, dropout)
