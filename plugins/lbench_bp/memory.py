"""Noise and BatchNorm statistics for blocks that run twice and batches that run in parts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from lbench.networks.norm import statistics_held
from lbench.step import Step


class PartStep(Step):
    """A step on some rows of a batch: noise is drawn for the whole batch and then indexed.

    Networks draw noise with one row per example, so a batch that is run in parts gets the same
    dropout masks as the whole batch.

    Args:
        s: the step of the whole batch.
        rows: the rows of the batch that this part has.
        size: the number of examples in the whole batch.
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
        self,
        stream: str,
        shape: tuple[int, ...] | torch.Size,
        kind: Literal["normal", "uniform", "sign"] = "normal",
    ) -> Tensor:
        """Draw noise for the whole batch and return this part's rows, of shape ``shape``."""
        return super().noise(stream, (self.size, *shape[1:]), kind)[self.rows]


def checkpoint_contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return contexts for a block's two runs; the second keeps BatchNorm's running statistics."""
    return nullcontext(), statistics_held(block)
