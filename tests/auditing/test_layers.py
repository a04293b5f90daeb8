"""Layers of all kinds, and transport that hides somewhere in a step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench.errors import UsageError
from tests.auditing.audits import few
from tests.auditing.snippets.step import Batch, Step, training
from tests.auditing.two_blocks import Training

# The variable is in this module, since functions of other modules are not copied.
MODEL = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3))
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), lr=0.1, momentum=0.9)


def plain_step(model: nn.Module, batch: Batch) -> None:
    OPTIMIZER.zero_grad()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    OPTIMIZER.step()


class Bare(nn.Module):
    """Two layers, of which the second is a matrix without a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(20, 30)
        self.matrix = nn.Parameter(0.1 * torch.randn(3, 30))
        self.readout = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.readout(F.linear(self.first(x).relu(), self.matrix))
        return logits


def test_a_matrix_without_a_module_of_its_own_is_a_layer_too(batch: Batch) -> None:
    model = Bare()
    report = lbench.audit(training(model), model, batch)
    assert report.transport.unmeasurable == []
    kinds = report.transport.kinds
    assert kinds["first", "matrix"] == kinds["matrix", "readout"] == "full"
    assert report.measured["backward_depth"] == "full"
    readout = model.readout

    def local(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Bare)
        hidden = F.linear(model.first(batch[0]).relu(), model.matrix)
        grads = torch.autograd.grad(hidden.square().mean(), [model.first.weight, model.matrix])
        with torch.no_grad():
            model.first.weight.sub_(grads[0])
            model.matrix.sub_(grads[1])

    units = {"first": [model.first, readout], "rest": [model]}
    report = lbench.audit(local, model, batch, units=units)
    assert report.transport.kinds["first", "matrix"] == "full"


def test_a_matrix_that_is_used_by_the_step_itself_is_not_called_free(batch: Batch) -> None:
    model = Bare()

    def by_hand(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Bare)
        x, y = batch
        with torch.no_grad():
            h = model.first(x).relu()
            z = h @ model.matrix.T
            error = z.softmax(1) - F.one_hot(y, 3)
            feedback = error @ FEEDBACK[0].to(x)
            model.matrix -= 0.1 * error.T @ h
            model.first.weight -= 0.1 * (feedback * (h > 0)).T @ x

    report = lbench.audit(by_hand, model, batch, units={"a": [model.first], "b": [model]})
    assert report.measured["bp_free"] is None
    assert report.transport.unmeasurable == ["matrix"]
    assert "outside of its own module's call" in report.transport.reasons["matrix"]


class Recurrent(nn.Module):
    """A layer that returns several tensors, and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 6, batch_first=True)
        self.readout = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.cell(x.view(len(x), 5, 4))[0][:, -1])
        return logits


class Matrices(nn.Module):
    """A model with matrices only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ParameterList([nn.Parameter(torch.randn(20, 20)) for _ in range(2)])
        self.out = nn.ParameterList([nn.Parameter(torch.randn(3, 20))])

    def forward(self, x: Tensor) -> Tensor:
        for w in self.layers:
            x = (x @ w).relu()
        return x @ self.out[0].T


def test_a_layer_that_cannot_be_held_is_never_called_free_of_transport(batch: Batch) -> None:
    model = Recurrent()
    report = lbench.audit(training(model), model, batch)
    assert report.transport.unmeasurable
    assert report.measured["bp_free"] is not True
    assert report.measured["transport"] in (None, "full")


def test_matrices_in_a_list_belong_to_the_module_that_has_the_list(batch: Batch) -> None:
    model = Matrices()
    report = lbench.audit(training(model), model, batch)
    assert report.transport.unmeasurable == []
    assert report.measured["transport"] == report.measured["backward_depth"] == "full"


class Sequence(nn.Module):
    """Layers other than linear maps and plain convolutions, and one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 3)
        self.up = nn.ConvTranspose1d(6, 4, 2)
        self.again = nn.Linear(4 * 19, 4 * 19)
        self.readout = nn.Linear(4 * 19, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(self.conv(x[:, None]).relu()).relu().flatten(1)
        logits: Tensor = self.readout(self.again(self.again(h).relu()).relu())
        return logits


def test_other_layers_and_recurrence_are_measured(batch: Batch) -> None:
    model = Sequence()
    report = lbench.audit(training(model), model, batch)
    kinds = report.transport.kinds
    assert report.transport.unmeasurable == []
    assert kinds["conv", "up"] == kinds["conv", "readout"] == kinds["up", "again"] == "full"
    assert kinds["again", "again"] == "full"  # through time


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (
            nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(),
                nn.Linear(4 * 12 * 12, 3),
            ),
            (3, 16, 16),
        ),
        (
            nn.Sequential(
                nn.Conv2d(1, 8, 3, padding="same", padding_mode="circular"), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
            ),
            (1, 8, 8),
        ),
        (nn.Sequential(nn.Linear(20, 4), nn.Tanh(), nn.Linear(4, 3)), (20,)),
        (nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 3)), (20,)),
        (nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(30, 3)), (5,)),
    ],
)  # fmt: skip
def test_backpropagation_is_seen_on_large_images_and_narrow_layers(
    model: nn.Module, shape: tuple[int, ...]
) -> None:
    x = torch.randn(14, *shape)
    if isinstance(next(model.children()), nn.Embedding):
        x = torch.randint(9, (14, *shape))
    report = lbench.audit(training(model), model, (x, torch.arange(14) % 3))
    assert report.measured["transport"] == "full"
    assert report.measured["backward_depth"] == "full"


class Parallel(nn.Module):
    """Two parallel layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(20, 9), nn.Linear(20, 9)
        self.readout = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.readout(torch.cat([self.one(x), self.two(x)], 1).relu())
        return logits


def test_parallel_layers_have_depth_one(batch: Batch) -> None:
    model = Parallel()
    report = lbench.audit(training(model), model, batch)
    assert report.measured["backward_depth"] == "full"
    assert set(report.transport.depths().values()) == {1, 0}


FEEDBACK = [torch.randn(3, 30, generator=torch.Generator().manual_seed(k)) for k in range(2)]


def feedback_alignment(model: nn.Sequential, batch: Batch) -> Tensor:
    """Direct feedback alignment as the gradient of a loss."""
    x, y = batch
    z1 = model[0](x)
    z2 = model[2](z1.detach().relu())
    logits = model[4](z2.detach().relu())
    error = (logits.detach().softmax(1) - F.one_hot(y, 3)) / len(y)
    sent = sum(
        (z * (z > 0) * (error @ b.to(error))).sum() for z, b in zip((z1, z2), FEEDBACK, strict=True)
    )
    return F.cross_entropy(logits, y) + sent


def honest(model: nn.Module, batch: Batch) -> None:
    assert isinstance(model, nn.Sequential)
    OPTIMIZER.zero_grad()
    feedback_alignment(model, batch).backward()
    OPTIMIZER.step()


def second_update(model: nn.Module, batch: Batch) -> None:
    honest(model, batch)
    plain_step(model, batch)


COUNTER = [0]


def every_other_step(model: nn.Module, batch: Batch) -> None:
    COUNTER[0] += 1
    (honest if COUNTER[0] % 2 else plain_step)(model, batch)


def heads_first(model: nn.Module, batch: Batch) -> None:
    assert isinstance(model, nn.Sequential)
    with torch.no_grad():  # as for a log
        model[4](torch.zeros(1, 30, dtype=batch[0].dtype))
        model[2](torch.zeros(1, 30, dtype=batch[0].dtype))
    plain_step(model, batch)


def a_millionth(model: nn.Module, batch: Batch) -> None:
    assert isinstance(model, nn.Sequential)
    OPTIMIZER.zero_grad()
    hidden = 1e-6 * F.cross_entropy(model(batch[0]), batch[1])
    (feedback_alignment(model, batch) + hidden).backward()
    OPTIMIZER.step()


def by_hand_afterwards(model: nn.Module, batch: Batch) -> None:
    honest(model, batch)
    grads = torch.autograd.grad(
        F.cross_entropy(model(batch[0]), batch[1]), list(model.parameters())
    )
    with torch.no_grad():
        for p, g in zip(model.parameters(), grads, strict=True):
            p -= 0.01 * g


def test_direct_feedback_alignment_by_hand_is_free_of_transport(batch: Batch) -> None:
    report = lbench.audit(honest, MODEL, batch)
    assert report.measured["bp_free"] is True
    assert report.measured["transport"] == "none"
    assert report.measured["backward_depth"] == 0
    assert report.measured["global_error"] == "vector"


@pytest.mark.parametrize(
    "step",
    few(
        [second_update, every_other_step, heads_first, a_millionth, by_hand_afterwards],
        [every_other_step, a_millionth],
    ),
)
def test_transport_is_seen_wherever_in_a_step_it_hides(step: Step, batch: Batch) -> None:
    report = lbench.audit(step, MODEL, batch)
    assert report.measured["transport"] == "full"
    assert report.measured["bp_free"] is False
    assert report.transport.kinds["0", "2"] == "full"


def test_tied_weights_are_one_tensor_and_one_layer(batch: Batch) -> None:
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20), nn.Linear(20, 3))
    model[2].weight = model[0].weight
    report = lbench.audit(training(model), model, batch)
    assert report.measured["writes"] == "shared"
    assert report.measured["transport"] == "full"


def test_sorted_labels_hide_no_leak() -> None:
    trainer = Training()
    model = trainer.model
    sorted_batch = torch.randn(14, 20), torch.arange(14) // 5
    report = lbench.audit(
        trainer.step, model, sorted_batch, units=model.units(), predict=trainer.leaky
    )
    assert report.measured["prediction"] == "leaks"


def test_steps_that_cannot_be_copied_or_run_end_without_a_traceback(batch: Batch) -> None:
    generator = (number for number in range(9))

    def uncopied(model: nn.Module, batch: Batch) -> None:
        next(generator)

    def fixed(model: nn.Module, batch: Batch) -> None:
        batch[0].view(7, 20)
        plain_step(model, batch)

    with pytest.raises(UsageError, match="cannot be audited: generator is a generator") as error:
        lbench.audit(uncopied, MODEL, batch)
    assert "Keep a list and a counter" in error.value.hint
    with pytest.raises(UsageError, match="cannot be audited") as error:
        lbench.audit(fixed, MODEL, batch)
    assert "any number of rows" in " ".join(error.value.hint.split())
