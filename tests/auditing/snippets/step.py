"""What the plain PyTorch training steps of the tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]
Step = Callable[[nn.Module, Batch], Any]
ROWS, INPUTS, WIDTH, CLASSES = 14, 20, 16, 3


@dataclass
class Snippet:
    """A training step as somebody writes it who has never heard of lbench.

    Args:
        step: makes one training step on a model and a batch.
        model: what it trains.
        x: (rows, …), inputs.
        units: what is trained together, from input to output; None for the model's children.
        predict: logits from the model and inputs; None for calling the model.
    """

    step: Step
    model: nn.Module
    x: Tensor = field(default_factory=lambda: torch.randn(ROWS, INPUTS))
    units: Mapping[str, Sequence[nn.Module]] | None = None
    predict: Callable[[nn.Module, Tensor], Tensor] | None = None

    @property
    def batch(self) -> Batch:
        """Inputs and labels."""
        return self.x, torch.arange(len(self.x)) % CLASSES


@dataclass
class Case:
    """A training step and the right verdict on it.

    Args:
        build: makes the step.
        transport: the strongest of the kinds.
        depth: the longest chain of layers whose transposed weights reach an update.
        locked: whether a layer waits for those above; None where this is not the question.
    """

    build: Callable[[], Snippet]
    transport: Literal["none", "scalar", "sign", "full"] = "none"
    depth: int = 0
    locked: bool | None = None

    @property
    def bp_free(self) -> bool:
        """As claims say it."""
        return self.transport in ("none", "scalar")


def three(wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer) -> nn.Sequential:
    """Two hidden layers and the output layer, each wrapped."""
    return nn.Sequential(
        wrap(nn.Linear(INPUTS, WIDTH)), nn.ReLU(),
        wrap(nn.Linear(WIDTH, WIDTH)), nn.ReLU(),
        wrap(nn.Linear(WIDTH, CLASSES)),
    )  # fmt: skip


def training(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Step:
    """The loop that everybody writes."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def trained(build: Callable[[], nn.Module]) -> Callable[[], Snippet]:
    """Make a builder of a network with the loop that everybody writes."""

    def make() -> Snippet:
        model = build()
        return Snippet(training(model), model)

    return make


def output_error(logits: Tensor, y: Tensor) -> Tensor:
    """(batch, classes): the gradient of the mean cross-entropy at the logits, without a graph."""
    return (logits.detach().softmax(1) - F.one_hot(y, logits.shape[1])) / len(y)
