"""Task: the classification problem, which is the same for all rules. Batch: examples of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Task:
    """A classification problem.

    Args:
        dataset: name of the dataset.
        shape: channels, height and width of an example.
        classes: number of classes.
    """

    dataset: str
    shape: tuple[int, int, int]
    classes: int

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (batch, classes) and labels (batch,)."""
        return F.cross_entropy(logits, target)

    def output_error(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and the output error: its gradient at the logits, (batch, classes).

        Each row includes the factor 1/batch of the mean. Neither tensor has a graph.
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
        x: images, (batch, channels, height, width), float.
        target: labels, (batch,), int64.
    """

    x: Tensor
    target: Tensor
