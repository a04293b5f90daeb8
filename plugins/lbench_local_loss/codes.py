"""Fixed random codes of the classes."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from lbench.config import RuleConfig
from lbench.init import Init
from lbench_local_loss.base import LocalLoss


class Coded(LocalLoss):
    """Blocks look at fixed random codes of the labels, and no trained map carries an error back.

    Every block has a Q of its own; the code Q e_t of class t is a row of ``codes[k]``.
    """

    bits: ClassVar[int] = 128

    @classmethod
    def carries(cls, config: RuleConfig) -> int:
        return 0

    def build(self, init: Init) -> None:
        super().build(init)
        self.codes = nn.ParameterList(
            nn.Parameter(codes(init, name, self.task.classes, self.bits), requires_grad=False)
            for name, _ in self.shapes()
        )


def codes(init: Init, name: str, classes: int, width: int) -> Tensor:
    """The transpose of a random Q uniform in ±1/√classes, (classes, width).

    It is drawn again until no two classes have the same signs.
    """
    if classes > 2**width:
        raise ValueError(f"{classes} classes cannot have different codes of {width} bits.")
    attempt = 0
    while True:
        drawn = init.uniform(f"codes/{name}/{attempt}", (classes, width), 1 / math.sqrt(classes))
        if len(torch.unique(drawn > 0, dim=0)) == classes:
            return drawn
        attempt += 1
