"""Layers without a matrix product: data multiplied with weights element by element, and summed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench.auditing.decay import decays
from tests.auditing.snippets.step import Batch, training

Form = Callable[[Tensor, Tensor], Tensor]


def column_by_column(x: Tensor, w: Tensor) -> Tensor:
    z = torch.zeros(len(x), len(w))
    for k in range(w.shape[1]):
        z += x[:, k : k + 1] * w[:, k]
    return z


FORMS: dict[str, Form] = {
    "broadcast": lambda x, w: (x[:, None] * w).sum(-1),
    "expanded": lambda x, w: (x[:, None].expand(-1, len(w), -1) * w).sum(-1),
    "repeated": lambda x, w: (x[:, None].repeat(1, len(w), 1) * w).sum(-1),
    "each example": lambda x, w: torch.stack([(w * row).sum(1) for row in x]),
    "row by row": lambda x, w: torch.stack([(x * row).sum(1) for row in w], 1),
    "rows in a product": lambda x, w: torch.stack([x @ row for row in w], 1),
    "column by column": column_by_column,
    "a product with ones": lambda x, w: (x[:, None] * w) @ torch.ones(w.shape[1]),
    "modulated weights": lambda x, w: ((w * x.sigmoid()[:, None]) @ x[:, :, None])[:, :, 0],
    "distances": lambda x, w: -(x[:, None] - w).square().sum(-1) / 5,
}


class Spread(nn.Module):
    """A layer in one of the forms."""

    def __init__(self, form: Form, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(outputs, inputs))
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, self.weight)


def network(form: Form) -> nn.Sequential:
    return nn.Sequential(
        Spread(form, 20, 12), nn.Tanh(), Spread(form, 12, 12), nn.Tanh(), nn.Linear(12, 3)
    )


@pytest.mark.parametrize("form", FORMS)
def test_backpropagation_is_seen(form: str, batch: Batch) -> None:
    model = network(FORMS[form])
    report = lbench.audit(training(model), model, batch)
    assert report.measured["bp_free"] is False
    assert report.transport.kinds["0", "2"] == report.transport.kinds["2", "4"] == "full"


@pytest.mark.parametrize("form", FORMS)
def test_direct_feedback_is_free_of_transport(form: str, batch: Batch) -> None:
    model = network(FORMS[form])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    feedback = [torch.randn(3, 12) for _ in range(2)]

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, nn.Sequential)
        x, y = batch
        first = model[0](x)
        second = model[2](first.detach().tanh())
        logits = model[4](second.detach().tanh())
        error = logits.detach().softmax(1) - F.one_hot(y, 3)
        optimizer.zero_grad()
        sent = sum((z * (error @ b)).sum() for z, b in zip((first, second), feedback, strict=True))
        (F.cross_entropy(logits, y) + sent).backward()
        optimizer.step()

    report = lbench.audit(step, model, batch)
    assert report.measured["transport"] == "none"
    assert report.measured["bp_free"] is True


class Tokens(nn.Module):
    """Tokens made from a vector by adding positions, and a gain per token."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(4, 12))
        self.gains = nn.Parameter(torch.randn(4, 12))

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, None] + self.positions) * self.gains


class Mean(nn.Linear):
    """A layer on tokens, and the mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu().mean(1)


def test_positions_and_gains_are_no_layers(batch: Batch) -> None:
    model = nn.Sequential(nn.Linear(20, 12), Tokens(), Mean(12, 9), nn.Linear(9, 3))
    report = lbench.audit(training(model), model, batch)
    assert [layer.name for layer in report.transport.maps] == ["0", "2", "3"]
    assert report.transport.unmeasurable == []
    assert report.measured["backward_depth"] == "full"


def test_a_batch_may_be_prepared_with_numpy_inside_the_step(batch: Batch) -> None:
    model = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3))
    plain = training(model)

    def step(model: nn.Module, batch: Batch) -> None:
        x = batch[0].numpy()
        plain(model, (torch.from_numpy((x - x.mean(0)) / x.std(0)), batch[1]))

    report = lbench.audit(step, model, batch)
    assert report.transport.unmeasurable == []
    assert report.measured["backward_depth"] == "full"


def test_weights_set_to_a_constant_are_no_transpose() -> None:
    generator = torch.Generator().manual_seed(0)
    by = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    signal = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    assert decays(by.diag().diag(), by, signal)  # the diagonal is filled with zeros
    assert decays(by * (signal > 0), by, signal)  # a mask
    assert not decays(by * signal, by, signal)
