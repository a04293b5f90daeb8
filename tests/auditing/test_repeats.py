"""Copies behave alike wherever state is stored; where they cannot, the state is named."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import lbench
from lbench import Init, Step, View
from lbench.auditing.rules import audit_rule
from lbench.auditing.step_subject import StepSubject
from lbench.errors import UsageError
from tests.auditing.audits import few
from tests.auditing.cheats import Honest
from tests.auditing.optimizer_steps import loss_of, network
from tests.auditing.snippets.step import Batch

MEAN = {"loss": 1.0}


class Tracker:
    """A running mean of the loss in an attribute of the class."""

    mean: ClassVar[float] = 1.0

    def scale(self, loss: float) -> float:
        Tracker.mean = 0.9 * Tracker.mean + 0.1 * loss
        return Tracker.mean


class Shared:
    """State that cannot be copied."""

    def __init__(self) -> None:
        self.mean = 1.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self

    def scale(self, loss: float) -> float:
        self.mean = 0.9 * self.mean + 0.1 * loss
        return self.mean


def in_closure() -> Callable[[float], float]:
    mean = 1.0

    def scale(loss: float) -> float:
        nonlocal mean
        mean = 0.9 * mean + 0.1 * loss
        return mean

    return scale


def in_module(loss: float) -> float:
    MEAN["loss"] = 0.9 * MEAN["loss"] + 0.1 * loss
    return MEAN["loss"]


def in_list() -> Callable[[float], float]:
    means = [1.0]

    def scale(loss: float) -> float:
        means.append(0.9 * means[-1] + 0.1 * loss)
        return means[-1]

    return scale


def in_deque() -> Callable[[float], float]:
    last: deque[float] = deque([1.0], maxlen=3)

    def scale(loss: float) -> float:
        last.append(loss)
        return sum(last)

    return scale


def in_default(loss: float, means: list[float] = [1.0]) -> float:  # noqa: B006
    means[0] = 0.9 * means[0] + 0.1 * loss
    return means[0]


STATES: dict[str, Callable[[], Callable[[float], float]]] = {
    "closure": in_closure,
    "module variable": lambda: in_module,
    "list": in_list,
    "deque": in_deque,
    "default": lambda: in_default,
    "class attribute": lambda: Tracker().scale,
}


def scaled_by(scale: Callable[[float], float], model: nn.Module) -> Any:
    """Return backpropagation of a loss that is divided by a state computed from earlier losses."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        (loss / scale(loss.item())).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("kind", STATES)
def test_nan_in_one_copy_never_reaches_the_next(kind: str, batch: Batch) -> None:
    model = network()
    scale = STATES[kind]()
    subject = StepSubject(scaled_by(scale, model), model, batch[0].double(), batch[1])
    subject.check()
    first = subject.replica().step(0, subject.batch(0, 7), None)
    spoilt = subject.replica()
    spoilt.put({n: torch.full_like(p, torch.nan) for n, p in spoilt.params.items()})
    (signal,) = spoilt.step(0, subject.batch(0, 7), None)["0.weight"]
    assert bool(signal.isnan().all())
    again = subject.replica().step(0, subject.batch(0, 7), None)
    assert all(torch.equal(first[name][0], again[name][0]) for name in first)
    assert scale(1.0) in (1.0, 2.0)  # the original's state has not changed


@pytest.mark.parametrize("kind", few(STATES, ["closure"]))
def test_a_rule_may_keep_its_state_anywhere(kind: str) -> None:
    scale = STATES[kind]()

    class Scaled(Honest):
        def build(self, init: Init) -> None:
            super().build(init)
            self.scale = [scale]

        def loss(self, v: View, s: Step) -> Tensor:
            loss = super().loss(v, s)
            return loss * self.scale[0](0.5)

    report = audit_rule(Scaled)
    assert report.contradictions == []
    assert report.measured["update_locked"] is False
    assert scale(1.0) in (1.0, 2.0)


def test_state_that_is_not_copied_is_named(batch: Batch) -> None:
    model, tracker = network(), Shared()
    with pytest.raises(UsageError, match=r"does not repeat itself.*tracker \(Shared\)"):
        lbench.audit(scaled_by(lambda loss: tracker.scale(loss), model), model, batch)


def test_a_rules_state_that_is_not_copied_is_named() -> None:
    class Keeps(Honest):
        def build(self, init: Init) -> None:
            super().build(init)
            self.tracker = Shared()

        def loss(self, v: View, s: Step) -> Tensor:
            return super().loss(v, s) * self.tracker.scale(0.5)

    with pytest.raises(UsageError, match=r"Keeps does not repeat itself.*tracker \(Shared\)"):
        audit_rule(Keeps)


def test_state_outside_of_python_is_noticed(batch: Batch) -> None:
    model = network()

    def outside(loss: float) -> float:
        before = float(os.environ.get("LBENCH_TEST_STATE", "1"))
        os.environ["LBENCH_TEST_STATE"] = str(0.9 * before + 0.1 * loss)
        return before

    try:
        with pytest.raises(UsageError, match="does not repeat itself") as refusal:
            lbench.audit(scaled_by(outside, model), model, batch)
    finally:
        os.environ.pop("LBENCH_TEST_STATE", None)
    assert "buffers" in refusal.value.hint


class Remembers:
    """State that reaches the next copy only when it becomes NaN."""

    def __init__(self) -> None:
        self.broken = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Remembers:
        return self

    def scale(self, loss: float) -> float:
        self.broken = self.broken or loss != loss
        return 2.0 if self.broken else 1.0


def test_state_that_only_a_spoilt_copy_changes_is_noticed(batch: Batch) -> None:
    model, memory = network(), Remembers()
    with pytest.raises(UsageError, match=r"weights were NaN.*memory \(Remembers\)"):
        lbench.audit(scaled_by(lambda loss: memory.scale(loss), model), model, batch)


def test_a_step_that_trains_something_that_was_not_copied_is_refused(batch: Batch) -> None:
    class Keeper:
        def __init__(self, model: nn.Module) -> None:
            self.model = model
            self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def __deepcopy__(self, memo: dict[int, Any]) -> Keeper:
            return self

    model = network()
    keeper = Keeper(model)

    def step(model: nn.Module, batch: Batch) -> None:
        loss_of(keeper.model, batch).backward()
        keeper.optimizer.step()

    model.double()
    with pytest.raises(UsageError, match="trained the model itself"):
        lbench.audit(step, model, batch)
