"""The audit of training steps that do not use lbench."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lbench
from lbench.errors import UsageError
from tests.auditing.snippets.step import Batch
from tests.auditing.two_blocks import Training, Two, local_step

MODEL = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3))
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), lr=0.1, momentum=0.9)


def plain_step(model: nn.Module, batch: Batch) -> None:
    x, y = batch
    OPTIMIZER.zero_grad()
    F.cross_entropy(model(x), y).backward()
    OPTIMIZER.step()


def test_a_plain_loop_is_backpropagation(batch: Batch) -> None:
    measured = lbench.audit(plain_step, MODEL, batch).measured
    assert measured == {
        "bp_free": False,
        "transport": "full",
        "backward_depth": "full",
        "update_locked": True,
        "global_error": "vector",
        "couples": "none",
        "writes": "own",
        "prediction": "clean",
        "randomness": "addressed",
    }


def test_detached_blocks_are_local_with_dropout_and_batch_norm(batch: Batch) -> None:
    model = Two()
    report = lbench.audit(local_step(model), model, batch, units=model.units())
    assert report.measured["backward_depth"] == 1  # each block's own head
    assert not report.measured["update_locked"]
    assert report.measured["global_error"] == "none"
    assert report.measured["couples"] == "mean"
    assert report.measured["randomness"] == "global"  # from nn.Dropout


def test_separate_optimizers_do_not_cut_the_graph(batch: Batch) -> None:
    model = Two()
    report = lbench.audit(local_step(model, detach=False), model, batch, units=model.units())
    assert report.measured["backward_depth"] == "full"
    assert report.measured["update_locked"]
    assert (
        "the update of one.0 follows the transposed weights of two.0"
        in (report.evidence["transport"])
    )


def test_clipping_all_gradients_together_couples_the_blocks(batch: Batch) -> None:
    model = Two(norm=False, dropout=0.0)
    together = lbench.audit(local_step(model, clip="all"), model, batch, units=model.units())
    assert together.measured["update_locked"]
    assert together.measured["global_error"] != "none"
    apart = lbench.audit(local_step(model, clip="block"), model, batch, units=model.units())
    assert not apart.measured["update_locked"]
    assert apart.measured["global_error"] == "none"


def test_updates_by_hand_are_seen(batch: Batch) -> None:
    def step(model: nn.Module, batch: Batch) -> None:
        x, y = batch
        loss = F.cross_entropy(model(x), y)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                p -= 0.1 * g

    assert lbench.audit(step, MODEL, batch).measured["backward_depth"] == "full"


def test_a_step_may_make_tensors_of_the_default_type(batch: Batch) -> None:
    def step(model: nn.Module, batch: Batch) -> None:
        x, y = batch
        wanted = torch.eye(3)[y]
        OPTIMIZER.zero_grad()
        logits = model(x + 0.1 * torch.randn(x.shape))
        (logits - wanted).square().sum().add((logits @ torch.ones(3, 1)).sum()).backward()
        OPTIMIZER.step()

    assert lbench.audit(step, MODEL, batch).measured["transport"] == "full"
    assert torch.get_default_dtype() == torch.float32


def test_methods_and_partials_are_copied_with_their_objects(batch: Batch) -> None:
    training = Training()
    step = functools.partial(training.step, weight=2.0)
    report = lbench.audit(step, training.model, batch, units=training.model.units())
    assert report.measured["transport"] == "full"
    assert training.labels is None


def test_predictions_that_know_the_last_labels_are_seen(batch: Batch) -> None:
    training = Training()
    model = training.model
    report = lbench.audit(training.step, model, batch, units=model.units(), predict=training.leaky)
    assert report.measured["prediction"] == "leaks"


def test_nothing_of_the_original_changes(batch: Batch) -> None:
    before = {name: value.clone() for name, value in MODEL.state_dict().items()}
    generator = torch.get_rng_state()
    lbench.audit(plain_step, MODEL, batch)
    assert all(torch.equal(before[name], value) for name, value in MODEL.state_dict().items())
    assert all(p.dtype == torch.float32 and p.grad is None for p in MODEL.parameters())
    assert not OPTIMIZER.state
    assert torch.equal(torch.get_rng_state(), generator)


def test_claims_are_compared_with_a_plain_step(batch: Batch) -> None:
    claims = lbench.Claims(transport="none", backward_depth=0)
    report = lbench.audit(plain_step, MODEL, batch, claims=claims)
    words = [text.partition(":")[0] for text in report.contradictions]
    assert words == ["bp_free", "transport", "backward_depth"]


def test_a_step_that_trains_another_model_is_refused(batch: Batch) -> None:
    other = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 3))

    def step(model: nn.Module, batch: Batch) -> None:
        plain_step(other, batch)

    with pytest.raises(UsageError, match="changed no parameter of its model"):
        lbench.audit(step, other, batch)


def test_a_step_that_does_not_repeat_itself_is_refused(batch: Batch) -> None:
    class Counter:
        count = 0

        def __deepcopy__(self, memo: dict[int, Any]) -> Counter:
            return self

    counter = Counter()

    def step(model: nn.Module, batch: Batch) -> None:
        counter.count += 1
        x, y = batch
        OPTIMIZER.zero_grad()
        (counter.count * F.cross_entropy(model(x), y)).backward()
        OPTIMIZER.step()

    with pytest.raises(UsageError, match="does not repeat itself"):
        lbench.audit(step, MODEL, batch)


@pytest.mark.parametrize(
    ("model", "rows", "says"),
    [
        (MODEL, 8, "at least 14 rows, but got 8"),
        (nn.Sequential(nn.Linear(20, 3)), 14, "at least two units"),
    ],
)
def test_models_and_batches_that_cannot_be_measured_are_refused(
    model: nn.Module, rows: int, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        lbench.audit(plain_step, model, (torch.randn(rows, 20), torch.arange(rows) % 3))


def test_units_must_be_of_the_model(batch: Batch) -> None:
    with pytest.raises(UsageError, match="'b' of the audit has modules that are not"):
        lbench.audit(plain_step, MODEL, batch, units={"a": [MODEL[0]], "b": [nn.Linear(2, 2)]})


def test_gains_that_backpropagation_trains_are_seen(batch: Batch) -> None:
    """The matrices learn by direct feedback, and the normalisations by backpropagation."""
    model = nn.Sequential(
        nn.Linear(20, 12), nn.LayerNorm(12), nn.ReLU(),
        nn.Linear(12, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 3),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    feedback = [torch.randn(3, 12) for _ in range(2)]

    def local(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, nn.Sequential)
        x, y = batch
        first = model[0](x)
        second = model[3](model[1](first.detach()).relu().detach())
        logits = model[6](model[4](second.detach()).relu().detach())
        error = logits.detach().softmax(1) - F.one_hot(y, 3)
        optimizer.zero_grad()
        sent = sum((z * (error @ b)).sum() for z, b in zip((first, second), feedback, strict=True))
        (F.cross_entropy(logits, y) + sent).backward()

    def honest(model: nn.Module, batch: Batch) -> None:
        local(model, batch)
        optimizer.step()

    def mixed(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, nn.Sequential)
        local(model, batch)
        gains = [*model[1].parameters(), *model[4].parameters()]
        grads = torch.autograd.grad(F.cross_entropy(model(batch[0]), batch[1]), gains)
        for p, grad in zip(gains, grads, strict=True):
            p.grad = grad
        optimizer.step()

    assert lbench.audit(honest, model, batch).measured["bp_free"] is True
    report = lbench.audit(mixed, model, batch)
    assert report.measured["bp_free"] is False
    assert "the update of 1 follows the transposed weights of 3" in report.evidence["transport"]
