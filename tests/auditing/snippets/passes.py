"""Backpropagation by passes with hooks and checkpoints, by two passes, or by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.auditing.snippets.step import (
    CLASSES,
    INPUTS,
    WIDTH,
    Batch,
    Snippet,
    output_error,
    three,
    training,
)


def predict_without_gradients() -> Snippet:
    model = three()

    @torch.no_grad()
    def predict(model: nn.Module, x: Tensor) -> Tensor:
        return cast(Tensor, model(x))

    return Snippet(training(model), model, predict=predict)


def activation(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output.relu()


def recording(module: nn.Module, args: Any, output: Tensor) -> None:
    module.last = output  # type: ignore[assignment]


def forward_hooks() -> Snippet:
    layers = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
    for layer in layers[:2]:
        layer.register_forward_hook(activation)
    model = nn.Sequential(*layers)
    return Snippet(training(model), model)


def loss_of_recorded_outputs() -> Snippet:
    model = three()
    model[4].register_forward_hook(recording)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        model(batch[0])
        last = cast(nn.Sequential, model)[4].last
        F.cross_entropy(cast(Tensor, last), batch[1]).backward()
        del cast(nn.Sequential, model)[4].last
        optimizer.step()

    return Snippet(step, model)


def checkpointed(reentrant: bool) -> Callable[[], Snippet]:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(INPUTS, WIDTH)
            self.middle = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
            self.last = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            h = checkpoint(self.middle, self.first(x), use_reentrant=reentrant)
            return cast(Tensor, self.last(h))

    def build() -> Snippet:
        model = Checkpointed()
        return Snippet(training(model), model)

    return build


def siamese() -> Snippet:
    """Make a step that calls every layer twice and trains two halves of the features to agree."""
    model = nn.Sequential(nn.Linear(10, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        one, two = (model(half) for half in batch[0].chunk(2, 1))
        (one - two).square().mean().backward()
        optimizer.step()

    return Snippet(step, model, predict=lambda model, x: model(x[:, :10]))


def transposes_by_hand() -> Snippet:
    model = three()

    @torch.no_grad()
    def step(model: nn.Module, batch: Batch) -> None:
        layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
        inputs = [batch[0]]
        for layer in layers[:-1]:
            inputs.append((inputs[-1] @ layer.weight.T + layer.bias).relu())
        delta = output_error(inputs[-1] @ layers[-1].weight.T + layers[-1].bias, batch[1])
        for layer, x in zip(layers[::-1], inputs[::-1], strict=True):
            above = (delta @ layer.weight) * (x > 0)
            layer.weight -= 0.1 * delta.T @ x
            layer.bias -= 0.1 * delta.sum(0)
            delta = above

    return Snippet(step, model)
