"""A network of two blocks with one head per block, and training steps for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from tests.auditing.snippets.step import Batch, Step


class Two(nn.Module):
    """Two blocks with one head per block."""

    def __init__(self, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Dropout(dropout))
        self.two = nn.Sequential(
            nn.Linear(30, 30), nn.BatchNorm1d(30) if norm else nn.Identity(), nn.ReLU()
        )
        self.head1, self.head2 = nn.Linear(30, 3), nn.Linear(30, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head2(self.two(self.one(x)))
        return logits

    def units(self) -> dict[str, list[nn.Module]]:
        return {"one": [self.one, self.head1], "two": [self.two, self.head2]}


def optimizers(model: Two, make: Callable[[Any], Optimizer] = Adam) -> tuple[Optimizer, Optimizer]:
    """Make an optimizer for each block and its head."""
    one, two = (
        [p for module in unit for p in module.parameters()] for unit in model.units().values()
    )
    return make(one), make(two)


def local_step(
    model: Two,
    *,
    detach: bool = True,
    clip: str = "",
    by: tuple[Optimizer, Optimizer] | None = None,
    after: Callable[[], None] = lambda: None,
) -> Step:
    """Make a step in which each block has its optimizer and its loss.

    Args:
        model: the model that it trains.
        detach: whether the second block's input has no graph.
        clip: which gradients are clipped together: "all", those of a "block", or none.
        by: the optimizers of the two blocks.
        after: called at the end of every step.
    """
    first, second = by or optimizers(model)

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Two)
        x, y = batch
        h = model.one(x)
        logits = model.head2(model.two(h.detach() if detach else h))
        first.zero_grad()
        second.zero_grad()
        (F.cross_entropy(model.head1(h), y) + F.cross_entropy(logits, y)).backward()
        if clip == "all":
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for unit in [first, second] if clip == "block" else []:
            nn.utils.clip_grad_norm_(unit.param_groups[0]["params"], 0.1)
        first.step()
        second.step()
        after()

    return step


class Training:
    """A training step that is a method of an object with model and optimizer."""

    def __init__(self) -> None:
        self.model = Two(norm=False, dropout=0.0)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.labels: Tensor | None = None

    def step(self, model: nn.Module, batch: Batch, weight: float = 1.0) -> None:
        x, y = batch
        self.labels = y
        self.optimizer.zero_grad()
        (weight * F.cross_entropy(model(x), y)).backward()
        self.optimizer.step()

    def leaky(self, model: nn.Module, x: Tensor) -> Tensor:
        assert self.labels is not None
        return model(x) + F.one_hot(self.labels[: len(x)], 3)
