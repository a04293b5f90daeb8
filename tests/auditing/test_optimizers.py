"""Optimizers of all kinds hide no gradient from the audit, and none reads as foreign writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

import lbench
from lbench.auditing.step_subject import StepSubject
from lbench.auditing.subject import Signals
from lbench.errors import UsageError
from tests.auditing.test_steps import Batch, Step, Two, batch, seeded

__all__ = ["batch", "seeded"]  # fixtures

Kind = Callable[[nn.Module], Step]
NAMES = {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"}


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3)
    )


class Sam(Optimizer):
    """Sharpness-aware minimization (Foret et al. 2021), as its common PyTorch code has it."""

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
    """An optimizer that is none of PyTorch's."""

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
    "LBFGS, line search": closed(lambda p: LBFGS(p, line_search_fn="strong_wolfe"), named=True),
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


def signals_of(step: Step, model: nn.Module, batch: Batch, steps: int = 3) -> list[Signals]:
    subject = StepSubject(step, model, batch[0].double(), batch[1])
    subject.check()
    trial = subject.trial()
    found = [trial.step(index, subject.batch(index, 4), None) for index in range(steps)]
    assert trial.conduct.writes == []
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_its_signal_at_every_step(kind: str, batch: Batch) -> None:
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for signals in signals_of(KINDS[kind](model), model, batch):
        assert signals.keys() == NAMES
        assert all(bool(each.any()) for name in NAMES for each in signals[name])
        assert all(each.dtype == torch.float64 for name in NAMES for each in signals[name])
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_backpropagation_by_any_optimizer_is_measured(kind: str, batch: Batch) -> None:
    model = network()
    report = lbench.audit(KINDS[kind](model), model, batch)
    # A line search may call the closure another number of times when transposes change.
    assert report.measured["bp_free"] in ((None, False) if "search" in kind else (False,))
    assert report.measured["writes"] == "own"


def test_an_optimizer_that_was_used_before_is_copied_with_its_state(batch: Batch) -> None:
    kinds = ["LBFGS", "SAM, closure", "Adam, fused", "GradScaler", "scheduler", "in backward"]
    for kind in kinds:
        model = network()
        step = KINDS[kind](model)
        for _ in range(2):
            step(model, batch)
        used = {n: p.detach().clone() for n, p in model.named_parameters()}
        assert all(each.keys() == NAMES for each in signals_of(step, model, batch))
        assert all(torch.equal(p, used[n]) for n, p in model.named_parameters())


def test_the_signal_is_the_gradient_at_each_call_of_a_closure(batch: Batch) -> None:
    model = network()
    x, y = batch[0][:4].double(), batch[1][:4]
    signals = signals_of(KINDS["closure"](model), model, batch, steps=1)[0]
    twin = network().double()
    twin.load_state_dict(model.state_dict())
    loss_of(twin, (x, y)).backward()
    for name, p in twin.named_parameters():
        (signal,) = signals[name]
        assert p.grad is not None
        assert torch.equal(signal, p.grad)
    many = signals_of(KINDS["LBFGS"](model), model, batch, steps=1)[0]
    assert {len(each) for each in many.values()} == {3}


def test_gradients_of_an_earlier_step_are_no_signal_of_a_closures(batch: Batch) -> None:
    model = network()
    step = KINDS["closure"](model)
    step(model, batch)
    assert all(p.grad is not None for p in model.parameters())
    for signals in signals_of_used(step, model, batch):
        assert {len(each) for each in signals.values()} == {1}


def signals_of_used(step: Step, model: nn.Module, batch: Batch) -> list[Signals]:
    subject = StepSubject(step, model, batch[0].double(), batch[1])
    trial = subject.trial()
    return [trial.step(index, subject.batch(index, 4), None) for index in range(2)]


def test_a_change_without_an_optimizer_has_an_allowance_for_rounding(batch: Batch) -> None:
    model = network()
    for signals in signals_of(KINDS["no Optimizer"](model), model, batch):
        assert signals.rounding.keys() == NAMES
        assert all(0 < each < 1e-13 for each in signals.rounding.values())
    for signals in signals_of(KINDS["SGD"](model), model, batch):
        assert signals.rounding == {}


def test_sparse_gradients_are_signals(batch: Batch) -> None:
    model = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten(), nn.Linear(160, 3))
    first = torch.optim.SparseAdam(model[0].parameters())
    second = SGD(model[2].parameters(), lr=0.1)
    tokens = torch.arange(14 * 20).view(14, 20) % 50

    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()
        for optimizer in (first, second):
            optimizer.step()
            optimizer.zero_grad()

    report = lbench.audit(step, model, (tokens, batch[1]))
    assert report.measured["bp_free"] is False


def test_a_change_by_hand_beside_an_optimizer_is_an_update_of_its_own(batch: Batch) -> None:
    """Weight decay, clipping and projections by hand write into no other unit."""
    model = Two(norm=False, dropout=0.0)
    first = SGD([*model.one.parameters(), *model.head1.parameters()], lr=0.1)
    second = SGD([*model.two.parameters(), *model.head2.parameters()], lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Two)
        h = model.one(batch[0])
        first.zero_grad()
        second.zero_grad()
        F.cross_entropy(model.head1(h), batch[1]).backward()
        F.cross_entropy(model.head2(model.two(h.detach())), batch[1]).backward()
        first.step()
        second.step()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.99).clamp_(-1, 1)
            weight = model.one[0].weight
            weight.div_(weight.norm(dim=1, keepdim=True).clamp(min=1))

    report = lbench.audit(step, model, batch, units=model.units())
    assert report.measured["writes"] == "own"
    assert report.measured["update_locked"] is False
    assert report.measured["global_error"] == "none"


def test_an_optimizer_that_changes_what_it_does_not_hold_writes_into_a_foreign_unit(
    batch: Batch,
) -> None:
    model = Two(norm=False, dropout=0.0)
    first = SGD([*model.one.parameters(), *model.head1.parameters()], lr=0.1)
    second = SGD([*model.two.parameters(), *model.head2.parameters()], lr=0.1)

    @torch.no_grad()
    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        model.one[0].weight.mul_(0.99)

    second.register_step_post_hook(hook)

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Two)
        h = model.one(batch[0])
        first.zero_grad()
        second.zero_grad()
        F.cross_entropy(model.head1(h), batch[1]).backward()
        F.cross_entropy(model.head2(model.two(h.detach())), batch[1]).backward()
        first.step()
        second.step()

    report = lbench.audit(step, model, batch, units=model.units())
    assert report.measured["writes"] == "foreign"
    assert report.evidence["writes"][0] == (
        "one.0.weight was changed in the step of another optimizer (SGD)"
    )


def test_a_write_by_hand_that_depends_on_another_unit_is_seen(batch: Batch) -> None:
    model = Two(norm=False, dropout=0.0)
    first = SGD([*model.one.parameters(), *model.head1.parameters()], lr=0.1)
    second = SGD([*model.two.parameters(), *model.head2.parameters()], lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Two)
        h = model.one(batch[0])
        first.zero_grad()
        second.zero_grad()
        F.cross_entropy(model.head1(h), batch[1]).backward()
        F.cross_entropy(model.head2(model.two(h.detach())), batch[1]).backward()
        first.step()
        second.step()
        with torch.no_grad():
            model.one[0].weight.add_(model.two[0].weight.mean(), alpha=1e-3)

    report = lbench.audit(step, model, batch, units=model.units())
    assert report.measured["update_locked"] is True


def test_a_step_that_never_changes_a_parameter_is_refused(batch: Batch) -> None:
    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()

    with pytest.raises(UsageError, match="changed no parameter of its model in 64 calls"):
        lbench.audit(step, network(), batch)
