"""State beside the trained parameters: which unit writes it, and whether it is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench.auditing.conduct import label_leaks, observed, shared
from lbench.auditing.state import state, trained_state
from lbench.auditing.step_subject import StepSubject
from lbench.auditing.subject import Unit
from lbench.auditing.turns import owners
from lbench.rule import Rule
from tests.auditing.audits import audited, few
from tests.auditing.cheats import Honest
from tests.auditing.snippets import BACKPROPAGATION, HONEST
from tests.auditing.state_cheats import (
    LabelTable,
    NetworkInBuffers,
    Prototypes,
    Traced,
)
from tests.auditing.subjects import subject


@pytest.mark.no_cover
@pytest.mark.parametrize("network", few(["mlp", "cnn"], ["mlp"]))
def test_a_trace_that_a_block_writes_in_its_own_turn_is_no_foreign_write(network: str) -> None:
    report = audited(Traced, network)  # the convolutions have BatchNorm
    wrong = [text for text in report.contradictions if not text.startswith("couples")]
    assert wrong == []
    assert report.evidence["writes"] == []
    assert report.transport.unmeasurable == []


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (Traced, []),
        (NetworkInBuffers, ["one", "two"]),
        (Prototypes, ["means"]),
        (LabelTable, ["table"]),
    ],
)
def test_state_that_a_step_changes_and_predictions_use_is_trained(
    cls: type[Rule], names: list[str]
) -> None:
    assert trained_state(subject(cls), 7) == names


def test_class_prototypes_are_no_leak_of_labels_but_a_table_by_row_is() -> None:
    assert label_leaks(subject(Prototypes), 7) == []
    first, *_ = label_leaks(subject(LabelTable), 7)
    assert first == "each row is predicted by the label of the same row of an earlier batch"


class Remembers(Honest):
    """A model that stores its last logits and, in the cheat, adds them to the next ones."""

    mixes = False

    def predict(self, x: Tensor) -> Tensor:
        logits = super().predict(x)
        if self.mixes and (last := getattr(self, "last", None)) is not None:
            logits = logits + 0.1 * last.mean(0)
        self.last = logits
        return logits


class Mixes(Remembers):
    mixes = True


def test_a_prediction_may_be_stored_but_not_used_in_the_next_one() -> None:
    assert label_leaks(subject(Remembers), 7) == []
    assert "the same batch is predicted differently after other predictions" in label_leaks(
        subject(Mixes), 7
    )


def test_state_is_found_wherever_a_module_stores_it() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.BatchNorm1d(2)
            self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)
            self.lists = [torch.ones(1), {"deep": (torch.ones(1),)}]
            self.hidden = [nn.Linear(1, 1, bias=False)]
            self.again = self.lists
            self.trained = self.layer.weight

    assert list(state(Keeps())) == [
        "layer.running_mean",
        "layer.running_var",
        "layer.num_batches_tracked",
        "fixed",
        "lists.0",
        "lists.1.deep.0",
        "hidden.0.weight",
    ]


def test_state_belongs_to_the_unit_of_its_closest_trained_relatives() -> None:
    units = [Unit("one", ["a.0.weight"]), Unit("two", ["a.1.weight", "b.head.weight"])]
    names = ["a.0.running", "a.0", "a", "a.kept", "b.trace", "loose"]
    assert owners(units, names) == {"a.0.running": "one", "a.0": "one", "b.trace": "two"}


class Pair(nn.Module):
    """Two blocks, each with a running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(20, 8), nn.Linear(8, 3)
        self.one.register_buffer("mean", torch.zeros(8))
        self.two.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.two(self.one(x).relu())
        return logits


def _writes(model: nn.Module, step: Any) -> list[tuple[str, str]]:
    plain = StepSubject(step, model, torch.randn(14, 20).double(), torch.arange(14) % 3)
    replica = plain.replica()
    with observed(plain, replica):
        for index in range(3):
            replica.step(index, plain.batch(index, 7), None)
    return replica.conduct.writes


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()


def test_a_call_of_a_unit_writes_its_own_state() -> None:
    class Writes(nn.Linear):
        target: Any = None

        def forward(self, x: Tensor) -> Tensor:
            if self.target is not None:
                with torch.no_grad():
                    self.target[0].mean.add_(x.mean())
            return super().forward(x)

    def built(who: str) -> Pair:
        model = Pair()
        model.two = Writes(8, 3)
        model.two.register_buffer("mean", torch.zeros(8))
        model.two.target = [getattr(model, who)]
        return model

    for who, expected in (("two", []), ("one", [("one.mean", "in the turn of two")])):
        model = built(who)
        optimizer = torch.optim.Adam(model.parameters())
        assert _writes(model, lambda m, b, o=optimizer: _trained(m, o, b)) == expected


def test_the_step_itself_may_write_statistics_of_every_unit() -> None:
    model = Pair()
    optimizer = torch.optim.Adam(model.parameters())

    def step(model: Pair, batch: Any) -> None:
        model.one.mean.lerp_(model.one(batch[0]).mean(0).detach(), 0.1)  # type: ignore[operator]
        _trained(model, optimizer, batch)

    assert _writes(model, step) == []


class Hessian(torch.optim.SGD):
    """An optimizer with a method beside ``step`` that writes its own state."""

    def update_hessian(self) -> None:
        for p in self.param_groups[0]["params"]:
            self.state[p]["hessian"] = p.grad.square()


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")
@pytest.mark.parametrize("kind", ["own method", "reset", "scheduler", "another"])
def test_the_state_of_an_optimizer_is_its_own(kind: str) -> None:
    model = Pair()
    optimizer = Hessian(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def step(model: nn.Module, batch: Any) -> None:
        _trained(model, optimizer, batch)
        if kind == "own method":
            optimizer.update_hessian()
        elif kind == "scheduler":
            scheduler.step()
        for buffers in optimizer.state.values():
            if kind in ("reset", "another"):
                buffers["momentum_buffer"].mul_(0.0 if kind == "reset" else 0.5)

    names = {name for name, when in _writes(model, step) if "optimizer" in when}
    assert names == (set(dict(model.named_parameters())) if kind == "another" else set())


class Constant(nn.Module):
    """Two blocks with one fixed tensor, or with one tensor that both write."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(20, 8), nn.Linear(8, 3)
        for unit in (self.one, self.two):
            unit.register_buffer("codes", torch.ones(3))
        self.two.codes = self.one.codes

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.two(self.one(x).relu())
        return logits


@pytest.mark.parametrize("writes", [False, True])
def test_a_constant_of_two_units_is_not_shared_but_a_written_tensor_is(writes: bool) -> None:
    model = Constant()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: Constant, batch: Any) -> None:
        if writes:
            model.one.codes.add_(1)  # type: ignore[operator]
        _trained(model, optimizer, batch)

    plain = StepSubject(step, model, torch.randn(14, 20).double(), torch.arange(14) % 3)  # type: ignore[arg-type]
    replica = plain.replica()
    replica.step(0, plain.batch(0, 7), None)
    assert len(shared(plain, replica)) == int(writes)


def test_a_rule_may_list_the_tensors_of_its_blocks() -> None:
    own = subject(Traced)
    own.rule.every = [head.get_buffer("trace") for head in own.rule.heads]  # type: ignore[union-attr, assignment]
    replica = own.replica()
    replica.step(0, own.batch(0, 7), None)
    assert shared(own, replica) == []


def test_a_plain_network_in_buffers_is_never_called_free_of_backpropagation() -> None:
    class Buffers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w", 0.1 * torch.randn(3, 20))
            self.one, self.two = nn.Linear(20, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.two(self.one(x)) + x @ self.get_buffer("w").T
            return logits

    model = Buffers()

    def step(model: nn.Module, batch: Any) -> None:
        x, y = batch
        error = model(x).softmax(1) - F.one_hot(y, 3)
        with torch.no_grad():
            model.get_buffer("w").sub_(error.T @ x, alpha=0.01)
            model.two.bias.sub_(error.mean(0), alpha=0.01)  # type: ignore[union-attr, operator]

    report = lbench.audit(step, model, (torch.randn(14, 20), torch.arange(14) % 3))
    assert report.measured["bp_free"] is None
    assert report.transport.unmeasurable == ["w"]


@pytest.mark.parametrize("name", ["DFA by forward hooks", "old weight_norm", "old spectral_norm"])
@pytest.mark.filterwarnings("ignore")
def test_attributes_that_a_forward_pass_sets_are_no_leak(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = (BACKPROPAGATION[name] if name in BACKPROPAGATION else HONEST[name].build)()
    x, y = made.batch
    plain = StepSubject(made.step, made.model, x.double(), y, made.units, made.predict)
    assert label_leaks(plain, 7) == []
    assert trained_state(plain, 7) == []
