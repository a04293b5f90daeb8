"""Backpropagation through layers with unusual weights or derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.auditing.snippets.step import (
    CLASSES,
    INPUTS,
    ROWS,
    WIDTH,
    Batch,
    Snippet,
    three,
    training,
)


def wrapped(wrap: Callable[..., nn.Module]) -> Callable[[], Snippet]:
    """Make a builder of three layers whose weights are computed from others."""

    def build() -> Snippet:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old functions are deprecated, but still in use
            model = three(wrap)
        return Snippet(training(model), model)

    return build


class TiedAutoencoder(nn.Module):
    """Two layers, followed by their own transposed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.outer, self.inner = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, 9)

    def forward(self, x: Tensor) -> Tensor:
        code = self.inner(self.outer(x).relu()).relu()
        hidden = F.linear(code, self.inner.weight.T).relu()
        return F.linear(hidden, self.outer.weight.T)


def tied_autoencoder() -> Snippet:
    model = TiedAutoencoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        F.mse_loss(model(batch[0]), batch[0]).backward()
        optimizer.step()

    return Snippet(step, model)


class Generated(nn.Module):
    """A layer whose weights are the output of a small network."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = outputs, inputs
        self.code = nn.Parameter(torch.randn(5))
        self.generator = nn.Linear(5, inputs * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.generator(self.code).view(self.shape) / 3)


def hypernetwork() -> Snippet:
    model = three(lambda layer: Generated(layer.in_features, layer.out_features))
    return Snippet(training(model), model)


class Product(torch.autograd.Function):
    """A linear layer with a backward pass of its own, which is the exact one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        x, weight = ctx.saved_tensors
        return g @ weight, g.T @ x, g.sum(0)


class ProductLayer(nn.Linear):
    """A linear layer that uses ``Product``."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, Product.apply(x, self.weight, self.bias))


class BareBlock(nn.Module):
    """Two matrices that belong to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.randn(INPUTS, WIDTH) / 4)
        self.two = nn.Parameter(torch.randn(WIDTH, WIDTH) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,ij->bj", (x @ self.one).relu(), self.two).relu()


class LowRank(nn.Module):
    """A layer whose weights are sums of outer products of vectors."""

    def __init__(self, inputs: int, outputs: int, rank: int = 3) -> None:
        super().__init__()
        self.left = nn.ParameterList([nn.Parameter(torch.randn(outputs) / 2) for _ in range(rank)])
        self.right = nn.ParameterList([nn.Parameter(torch.randn(inputs) / 2) for _ in range(rank)])

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(self.left, self.right, strict=True)
        return F.linear(x, torch.stack([torch.outer(u, v) for u, v in pairs]).sum(0))


def embedding() -> Snippet:
    model = nn.Sequential(
        nn.Embedding(9, 6), nn.Flatten(), nn.Linear(30, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
    )
    return Snippet(training(model), model, torch.randint(9, (ROWS, 5)))


def in_place() -> Snippet:
    model = three()
    for layer in model:
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return Snippet(training(model), model)


class Sign(torch.autograd.Function):
    """Signs with the gradient of the identity (straight-through)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


class Signs(nn.Module):
    """An activation with two values."""

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, Sign.apply(z))


def straight_through() -> Snippet:
    model = nn.Sequential(
        nn.Linear(INPUTS, WIDTH), Signs(), nn.Linear(WIDTH, WIDTH), Signs(),
        nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip
    return Snippet(training(model), model)
