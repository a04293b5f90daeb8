"""The audit sees the gradients of all kinds of optimizers, and none counts as foreign writes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

import lbench
from lbench.auditing.step_subject import StepSubject
from lbench.auditing.subject import Signals
from lbench.errors import UsageError
from tests.auditing.audits import few
from tests.auditing.optimizer_steps import KINDS, NAMES, loss_of, network
from tests.auditing.snippets.step import Batch, Step
from tests.auditing.two_blocks import Two, local_step, optimizers

sgd = functools.partial(SGD, lr=0.1)

AUDITED = ["SGD", "LBFGS", "SAM, two calls", "no Optimizer", "in backward"]
"""Kinds that the quick tests audit; they also check the signals of each kind."""


def signals_of(step: Step, model: nn.Module, batch: Batch, steps: int = 3) -> list[Signals]:
    subject = StepSubject(step, model, batch[0].double(), batch[1])
    subject.check()
    replica = subject.replica()
    signals_by_step = [replica.step(index, subject.batch(index, 4), None) for index in range(steps)]
    assert replica.conduct.writes == []
    return signals_by_step


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_its_signal_at_every_step(kind: str, batch: Batch) -> None:
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for signals in signals_of(KINDS[kind](model), model, batch):
        assert signals.keys() == NAMES
        assert all(bool(entry.any()) for name in NAMES for entry in signals[name])
        assert all(entry.dtype == torch.float64 for name in NAMES for entry in signals[name])
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", few(KINDS, AUDITED))
def test_backpropagation_by_any_optimizer_is_measured(kind: str, batch: Batch) -> None:
    model = network()
    report = lbench.audit(KINDS[kind](model), model, batch)
    # With changed transposes, a line search may call the closure more or less often.
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
        assert all(entry.keys() == NAMES for entry in signals_of(step, model, batch))
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
    assert {len(entry) for entry in many.values()} == {3}


def test_gradients_of_an_earlier_step_are_no_signal_of_a_closure(batch: Batch) -> None:
    model = network()
    step = KINDS["closure"](model)
    step(model, batch)
    assert all(p.grad is not None for p in model.parameters())
    for signals in signals_of_used(step, model, batch):
        assert {len(entry) for entry in signals.values()} == {1}


def signals_of_used(step: Step, model: nn.Module, batch: Batch) -> list[Signals]:
    subject = StepSubject(step, model, batch[0].double(), batch[1])
    replica = subject.replica()
    return [replica.step(index, subject.batch(index, 4), None) for index in range(2)]


def test_a_change_without_an_optimizer_has_an_allowance_for_rounding(batch: Batch) -> None:
    model = network()
    for signals in signals_of(KINDS["no Optimizer"](model), model, batch):
        assert signals.rounding.keys() == NAMES
        assert all(0 < entry < 1e-13 for entry in signals.rounding.values())
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
    """Weight decay, clipping and projections by hand are no writes into another unit."""
    model = Two(norm=False, dropout=0.0)

    @torch.no_grad()
    def by_hand() -> None:
        for p in model.parameters():
            p.mul_(0.99).clamp_(-1, 1)
        weight = model.one[0].weight
        weight.div_(weight.norm(dim=1, keepdim=True).clamp(min=1))

    step = local_step(model, by=optimizers(model, sgd), after=by_hand)
    report = lbench.audit(step, model, batch, units=model.units())
    assert report.measured["writes"] == "own"
    assert report.measured["update_locked"] is False
    assert report.measured["global_error"] == "none"


def test_an_optimizer_that_changes_what_it_does_not_hold_writes_into_a_foreign_unit(
    batch: Batch,
) -> None:
    model = Two(norm=False, dropout=0.0)
    first, second = optimizers(model, sgd)

    @torch.no_grad()
    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        model.one[0].weight.mul_(0.99)

    second.register_step_post_hook(hook)

    report = lbench.audit(local_step(model, by=(first, second)), model, batch, units=model.units())
    assert report.measured["writes"] == "foreign"
    assert report.evidence["writes"][0] == (
        "one.0.weight was changed in the step of another optimizer (SGD)"
    )


def test_a_write_by_hand_that_depends_on_another_unit_is_seen(batch: Batch) -> None:
    model = Two(norm=False, dropout=0.0)

    @torch.no_grad()
    def by_hand() -> None:
        model.one[0].weight.add_(model.two[0].weight.mean(), alpha=1e-3)

    step = local_step(model, by=optimizers(model, sgd), after=by_hand)
    report = lbench.audit(step, model, batch, units=model.units())
    assert report.measured["update_locked"] is True


def test_a_step_that_never_changes_a_parameter_is_refused(batch: Batch) -> None:
    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(model, batch).backward()

    with pytest.raises(UsageError, match="changed no parameter of its model in 64 calls"):
        lbench.audit(step, network(), batch)


class Secret(Optimizer):
    """An optimizer that adds another tensor to every gradient."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        super().__init__(params, {})
        self.beside: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            p -= 0.1 * (p.grad + self.beside.get(p, 0.0))


@pytest.mark.parametrize("secret", [False, True])
def test_an_optimizer_that_adds_to_its_gradients_is_not_called_free_of_transport(
    secret: bool, batch: Batch
) -> None:
    model = nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 3))
    optimizer = Secret(model.parameters())
    feedback = torch.randn(3, 12)

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, nn.Sequential)
        x, y = batch
        params = list(model.parameters())
        if secret:
            grads = torch.autograd.grad(F.cross_entropy(model(x), y), params)
            optimizer.beside = dict(zip(params, grads, strict=True))
        hidden = model[0](x)
        logits = model[2](hidden.detach().tanh())
        error = logits.detach().softmax(1) - F.one_hot(y, 3)
        optimizer.zero_grad()
        (F.cross_entropy(logits, y) + (hidden * (error @ feedback)).sum()).backward()
        optimizer.step()

    report = lbench.audit(step, model, batch)
    assert report.measured["bp_free"] is (None if secret else True)
    assert report.transport.unmeasurable == (["2"] if secret else [])
    if secret:
        assert "an optimizer uses it" in report.transport.reasons["2"]
