"""Common parts of the plain PyTorch training steps of the tests."""

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
    """A training step of code that does not use lbench.

    Args:
        step: makes one training step on a model and a batch.
        model: the model that it trains.
        x: (rows, …), inputs.
        units: what is trained together, from input to output; None for the model's children.
        predict: function from model and inputs to logits; None for calling the model.
    """

    step: Step
    model: nn.Module
    x: Tensor = field(default_factory=lambda: torch.randn(ROWS, INPUTS))
    units: Mapping[str, Sequence[nn.Module]] | None = None
    predict: Callable[[nn.Module, Tensor], Tensor] | None = None

    @property
    def batch(self) -> Batch:
        """Return inputs and labels."""
        return self.x, torch.arange(len(self.x)) % CLASSES


@dataclass
class Case:
    """A training step and the right verdict on it.

    Args:
        build: makes the step.
        transport: the strongest kind of transport.
        depth: the longest chain of layers whose transposed weights reach an update.
        locked: whether a layer waits for later ones; None where this is not tested.
    """

    build: Callable[[], Snippet]
    transport: Literal["none", "scalar", "sign", "full"] = "none"
    depth: int = 0
    locked: bool | None = None

    @property
    def bp_free(self) -> bool:
        """Return whether this step is free of backpropagation."""
        return self.transport in ("none", "scalar")


def three(wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer) -> nn.Sequential:
    """Return two hidden layers and the output layer, each wrapped."""
    return nn.Sequential(
        wrap(nn.Linear(INPUTS, WIDTH)), nn.ReLU(),
        wrap(nn.Linear(WIDTH, WIDTH)), nn.ReLU(),
        wrap(nn.Linear(WIDTH, CLASSES)),
    )  # fmt: skip


def training(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Step:
    """Make a plain training step."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def trained(build: Callable[[], nn.Module]) -> Callable[[], Snippet]:
    """Make a builder of a network with a plain training step."""

    def make() -> Snippet:
        model = build()
        return Snippet(training(model), model)

    return make


def output_error(logits: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy at the logits, (batch, classes)."""
    return (logits.detach().softmax(1) - F.one_hot(y, logits.shape[1])) / len(y)
