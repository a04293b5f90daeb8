"""Backpropagation with optimizers that use closures, step early or step late."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.auditing.snippets.step import Batch, Snippet, three


def closing(make: Callable[[Iterable[Tensor]], torch.optim.Optimizer]) -> Snippet:
    """Make a step with an optimizer that calls a closure."""
    model = three()
    optimizer = make(model.parameters())

    def step(model: nn.Module, batch: Batch) -> None:
        def evaluate() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        optimizer.step(evaluate)

    return Snippet(step, model)


def closure() -> Snippet:
    return closing(lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9))


def lbfgs() -> Snippet:
    return closing(lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=2))


class SharpnessAware(torch.optim.Optimizer):
    """Sharpness-aware minimisation, with gradients at an ascended point (arXiv:2010.01412)."""

    def __init__(self, params: Iterable[Tensor], rho: float = 0.05, lr: float = 0.1) -> None:
        super().__init__(params, {"rho": rho, "lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def climb(self) -> None:
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        for p in params:
            self.state[p]["before"] = p.clone()
            p.add_(p.grad * (self.param_groups[0]["rho"] / norm))
        self.zero_grad()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p, state in self.state.items():
            p.copy_(state["before"])
        self.base.step()
        self.zero_grad()


def sam() -> Snippet:
    model = three()
    optimizer = SharpnessAware(model.parameters())

    def step(model: nn.Module, batch: Batch) -> None:
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.climb()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return Snippet(step, model)


def accumulation() -> Snippet:
    model = three()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        for x, y in zip(*(part.tensor_split(2) for part in batch), strict=True):
            (F.cross_entropy(model(x), y) / 2).backward()
        optimizer.step()

    return Snippet(step, model)


def optimizer_in_backward() -> Snippet:
    model = three()
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def hook(p: Tensor) -> None:
        optimizers[cast(nn.Parameter, p)].step()
        optimizers[cast(nn.Parameter, p)].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)

    def step(model: nn.Module, batch: Batch) -> None:
        F.cross_entropy(model(batch[0]), batch[1]).backward()

    return Snippet(step, model)
