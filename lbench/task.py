"""Task: what every rule faces alike; batch: what one step sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Task:
    """A classification problem.

    Args:
        dataset: its name.
        shape: channels, height and width of an example.
        classes: how many there are.
    """

    dataset: str
    shape: tuple[int, int, int]
    classes: int

    def loss(self, scores: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of scores (batch, classes) and labels (batch,)."""
        return F.cross_entropy(scores, target)


@dataclass(slots=True)
class Batch:
    """One batch.

    Args:
        x: (batch, channels, height, width), float.
        target: (batch,), int64 labels.
    """

    x: Tensor
    target: Tensor
