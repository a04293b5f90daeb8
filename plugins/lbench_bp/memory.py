"""What running a block twice, or a batch in parts, must not change."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from lbench.networks.norm import statistics_held
from lbench.randomness import Kind
from lbench.step import Step


class Part(Step):
    """A step as some rows of its batch see it: noise is drawn for all rows, then cut.

    Networks draw noise with a row an example, so that a batch in parts has the masks that it has
    as a whole.

    Args:
        s: the whole batch's.
        rows: of the batch, which has ``size``.
    """

    __slots__ = ("rows", "size")

    def __init__(self, s: Step, rows: slice, size: int) -> None:
        super().__init__(
            s.randomness, s.index, s.epoch, phase=s.phase, last=s.last, train=s.train,
            device=s.device,
        )  # fmt: skip
        self.rows = rows
        self.size = size

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        """The rows' part of the whole batch's numbers."""
        return super().noise(stream, (self.size, *shape[1:]), kind)[self.rows]


def twice(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a block's first and second run: the second leaves BatchNorm's statistics."""
    return nullcontext(), statistics_held(block)
