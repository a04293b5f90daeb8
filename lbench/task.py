"""Task: what every rule faces alike; batch: what one step sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of logits (batch, classes) and labels (batch,)."""
        return F.cross_entropy(logits, target)

    def output_error(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the output error: its gradient at the logits, (batch, classes).

        An example's row has the 1/batch of the mean in it. Neither has a graph.
        """
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            loss = self.loss(logits, target)
        (output_error,) = torch.autograd.grad(loss, logits)
        return loss.detach(), output_error


@dataclass(slots=True)
class Batch:
    """One batch.

    Args:
        x: (batch, channels, height, width), float.
        target: (batch,), int64 labels.
    """

    x: Tensor
    target: Tensor
