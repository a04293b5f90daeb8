"""Plain backpropagation with optimizers of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from tests.auditing.snippets.step import Batch, Step

Kind = Callable[[nn.Module], Step]
NAMES = {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"}


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3)
    )


class Sam(Optimizer):
    """Sharpness-aware minimization (Foret et al. 2021), as in its common PyTorch implementation."""

    def __init__(self, params: Any, base: type[Optimizer], rho: float = 0.05, **options: Any):
        super().__init__(params, {"rho": rho, **options})
        self.base_optimizer = base(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups
        self.old: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def first_step(self) -> None:
        grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([g.norm() for g in grads]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.old[p] = p.detach().clone()
                    p.add_(p.grad * group["rho"] / (norm + 1e-12))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p, value in self.old.items():
            p.copy_(value)
        self.base_optimizer.step()
        self.zero_grad()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        closure = torch.enable_grad()(closure)
        self.first_step()
        closure()
        self.second_step()


class Lookahead(Optimizer):
    """Lookahead (Zhang et al. 2019): slow weights follow those of another optimizer."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        self.slow = {p: p.detach().clone() for g in inner.param_groups for p in g["params"]}
        super().__init__([p for g in inner.param_groups for p in g["params"]], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.inner.step()
        with torch.no_grad():
            for p, slow in self.slow.items():
                slow.lerp_(p, 0.5)
                p.copy_(slow)


class Plain:
    """An optimizer that does not derive from one of PyTorch's."""

    def __init__(self, params: Any) -> None:
        self.params = list(params)
        self.velocity = {p: torch.zeros_like(p) for p in self.params}

    def step(self) -> None:
        for p in self.params:
            self.velocity[p].mul_(0.9).add_(p.grad)
            p.data -= 0.1 * self.velocity[p]
            p.grad = None


class OfOutputs(Optimizer):
    """An optimizer that differentiates the loss itself and keeps no gradient."""

    def step(self, loss: Any) -> None:  # type: ignore[override]
        params = [p for g in self.param_groups for p in g["params"]]
        grads = torch.autograd.grad(loss(), params)
        with torch.no_grad():
            for p, grad in zip(params, grads, strict=True):
                p.sub_(0.1 * grad)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def usual(make: Callable[[Any], Optimizer], after: Callable[[Any], Any] | None = None) -> Kind:
    def kind(model: nn.Module) -> Step:
        optimizer = make(model.parameters())
        more = None if after is None else after(optimizer)

        def step(model: nn.Module, batch: Batch) -> None:
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            if more is not None:
                more.step()

        return step

    return kind


def closed(make: Callable[[Any], Optimizer], *, named: bool = False, before: bool = False) -> Kind:
    def kind(model: nn.Module) -> Step:
        optimizer = make(model.parameters())

        def step(model: nn.Module, batch: Batch) -> None:
            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = loss_of(model, batch)
                loss.backward()
                return loss

            if before:
                closure()
            if named:
                optimizer.step(closure=closure)  # type: ignore[call-arg]
            else:
                optimizer.step(closure)  # type: ignore[call-overload]

        return step

    return kind


def two_calls(model: nn.Module) -> Step:
    optimizer = Sam(model.parameters(), SGD, lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()
        optimizer.first_step()
        loss_of(model, batch).backward()
        optimizer.second_step()

    return step


def no_optimizer(model: nn.Module) -> Step:
    optimizer = Plain(model.parameters())

    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()
        optimizer.step()

    return step


def without_gradients(model: nn.Module) -> Step:
    optimizer = OfOutputs(model.parameters(), {})

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.step(lambda: loss_of(model, batch))

    return step


def in_backward(model: nn.Module) -> Step:
    optimizers = {p: Adam([p], lr=0.01) for p in model.parameters()}

    def hook(p: Tensor) -> None:
        optimizers[p].step()  # type: ignore[index]
        optimizers[p].zero_grad()  # type: ignore[index]

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)

    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()

    return step


def by_hand_in_backward(model: nn.Module) -> Step:
    for p in model.parameters():

        def hook(p: Tensor) -> None:
            p.data.sub_(p.grad, alpha=0.1)  # type: ignore[arg-type]
            p.grad = None

        p.register_post_accumulate_grad_hook(hook)

    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()

    return step


def accumulated(model: nn.Module) -> Step:
    optimizer = Adam(model.parameters())

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        for x, y in zip(batch[0], batch[1], strict=True):
            (loss_of(model, (x[None], y[None])) / len(batch[0])).backward()
        optimizer.step()

    return step


def accumulated_over_calls(model: nn.Module) -> Step:
    optimizer = Adam(model.parameters())
    calls = 0

    def step(model: nn.Module, batch: Batch) -> None:
        nonlocal calls
        calls += 1
        loss_of(model, batch).backward()
        if calls % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    return step


def scaled(model: nn.Module) -> Step:
    optimizer = SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        scaler.scale(loss_of(model, batch)).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def master_weights(model: nn.Module) -> Step:
    masters = [p.detach().clone().requires_grad_() for p in model.parameters()]
    optimizer = SGD(masters, lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        model.zero_grad()
        loss_of(model, batch).backward()
        for p, master in zip(model.parameters(), masters, strict=True):
            master.grad = p.grad
        optimizer.step()
        with torch.no_grad():
            for p, master in zip(model.parameters(), masters, strict=True):
                p.copy_(master)

    return step


KINDS: dict[str, Kind] = {
    "SGD": usual(lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "Adam, foreach": usual(lambda p: Adam(p, foreach=True)),
    "Adam, fused": usual(lambda p: Adam(p, fused=True)),
    "SGD, fused": usual(lambda p: SGD(p, lr=0.1, fused=True)),
    "Lookahead": usual(lambda p: Lookahead(Adam(p))),
    "scheduler": usual(Adam, lambda o: LambdaLR(o, lambda at: 1 / (1 + at))),
    "two schedulers": usual(Adam, lambda o: CosineAnnealingLR(LambdaLR(o, float).optimizer, 9)),
    "closure": closed(Adam),
    "closure, by keyword": closed(Adam, named=True),
    "LBFGS": closed(lambda p: LBFGS(p, lr=0.1, max_iter=3)),
    "LBFGS, line search": closed(
        lambda p: LBFGS(p, max_iter=3, line_search_fn="strong_wolfe"), named=True
    ),
    "SAM, closure": closed(lambda p: Sam(p, SGD, lr=0.1), before=True),
    "SAM, two calls": two_calls,
    "no Optimizer": no_optimizer,
    "without gradients": without_gradients,
    "in backward": in_backward,
    "by hand in backward": by_hand_in_backward,
    "accumulated": accumulated,
    "accumulated over calls": accumulated_over_calls,
    "GradScaler": scaled,
    "master weights": master_weights,
}
