"""Forward-forward: layers with activations inside are called on positives and negatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.auditing.snippets.step import CLASSES, INPUTS, WIDTH, Batch, Snippet


class GoodnessLayer(nn.Module):
    """Normalisation of the input, a linear layer and an activation."""

    def __init__(self, inputs: int, outputs: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x / (x.norm(dim=1, keepdim=True) + 1e-4)))


class GoodnessLinear(nn.Linear):
    """A linear layer that normalises its input and has an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.scaled(x)).relu()

    @staticmethod
    def scaled(x: Tensor) -> Tensor:
        """Return inputs scaled to norm 1."""
        return x / (x.norm(dim=1, keepdim=True) + 1e-4)


def labelled(x: Tensor, y: Tensor) -> Tensor:
    """Return inputs whose first numbers encode a label."""
    return torch.cat([F.one_hot(y, CLASSES).to(x), x[:, CLASSES:]], 1)


@torch.no_grad()
def by_goodness(model: nn.Module, x: Tensor) -> Tensor:
    goodness = []
    for label in range(CLASSES):
        h, total = labelled(x, torch.full((len(x),), label)), torch.zeros(len(x), dtype=x.dtype)
        for layer in model.children():
            h = layer(h)
            total = total + h.square().mean(1)
        goodness.append(total)
    return torch.stack(goodness, 1)


def forward_forward(layer: Callable[[int, int], nn.Module]) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = nn.Sequential(layer(INPUTS, WIDTH), layer(WIDTH, WIDTH), layer(WIDTH, WIDTH))
        optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model]

        def step(model: nn.Module, batch: Batch) -> None:
            x, y = batch
            positive, negative = labelled(x, y), labelled(x, (y + 1) % CLASSES)
            for layer, optimizer in zip(model.children(), optimizers, strict=True):
                good, bad = layer(positive), layer(negative)
                goodness = good.square().mean(1), bad.square().mean(1)
                loss = F.softplus(torch.cat([0.5 - goodness[0], goodness[1] - 0.5])).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                positive, negative = good.detach(), bad.detach()

        return Snippet(step, model, predict=by_goodness)

    return build


def goodness(activation: Callable[[Tensor], Tensor]) -> Callable[[], Snippet]:
    return forward_forward(lambda inputs, outputs: GoodnessLayer(inputs, outputs, activation))


def contrast_by_hand() -> Snippet:
    """Make a step that calls every layer twice and updates its weights by hand."""
    model = nn.Sequential(*(GoodnessLinear(n, WIDTH) for n in (INPUTS, WIDTH, WIDTH)))

    @torch.no_grad()
    def step(model: nn.Module, batch: Batch) -> None:
        x, y = batch
        positive, negative = labelled(x, y), labelled(x, (y + 1) % CLASSES)
        for layer in [m for m in model.children() if isinstance(m, nn.Linear)]:
            good, bad = layer(positive), layer(negative)
            more = good.T @ layer.scaled(positive) - bad.T @ layer.scaled(negative)
            layer.weight += 0.01 * more / len(x)
            positive, negative = good, bad

    return Snippet(step, model, predict=by_goodness)
