"""Fixed random codes of the classes."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from lbench.config import RuleConfig
from lbench.init import Init
from lbench_local_loss.base import LocalLoss


class CodedLoss(LocalLoss):
    """Blocks learn from fixed random codes of the labels, and no trained map carries errors back.

    Every block has its own Q; the code Q e_t of class t is row t of ``codes[k]``.
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
    """Draw the transpose of a random Q uniform in ±1/√classes, (classes, width).

    Q is drawn again until no two classes have the same signs.

    Raises:
        ValueError: there are fewer codes of ``width`` signs than classes.
    """
    if classes > 2**width:
        raise ValueError(f"{classes} classes cannot have different codes of {width} bits.")
    attempt = 0
    while True:
        rows = init.uniform(f"codes/{name}/{attempt}", (classes, width), 1 / math.sqrt(classes))
        if len(torch.unique(rows > 0, dim=0)) == classes:
            return rows
        attempt += 1
