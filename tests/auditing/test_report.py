"""The verdict of a report: as claimed, contradicted, not measurable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench import Claims
from lbench.audit_pages.text import show
from lbench.auditing.report import NOISE, Report

FREE = Claims(transport="none", backward_depth=0)


class Net(nn.Module):
    """Two layers, of which the second is a matrix without a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(20, 30)
        self.matrix = nn.Parameter(0.1 * torch.randn(3, 30))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.first(x).relu(), self.matrix)


def local(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """Train both layers by hand and outside of ``forward``, without either transpose."""
    assert isinstance(model, Net)
    x, y = batch
    h = model.first(x).relu().detach()
    error = torch.softmax(h @ model.matrix.T, 1) - F.one_hot(y, 3)
    with torch.no_grad():
        model.matrix -= 0.1 * error.T @ h
        model.first.weight -= 0.1 * (error @ torch.linspace(-1, 1, 3 * 30).view(3, -1).to(x)).T @ x


@pytest.fixture(scope="module")
def unseen() -> Callable[[Claims | None], Report]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
        batch = torch.randn(14, 20), torch.arange(14) % 3
        units = {"first": [model.first], "rest": [model]}
        report = lbench.audit(local, model, batch, units=units)
    return lambda claims: replace(report, claims=claims)


@pytest.mark.parametrize("claims", [None, FREE, Claims(), Claims(update_locked=True)])
def test_without_a_main_measurement_nothing_is_as_claimed(unseen: Any, claims: Claims) -> None:
    report = unseen(claims)
    assert report.contradictions == []
    assert report.unmeasured == ["bp_free", "transport", "backward_depth"]
    assert report.verdict == "not measurable"
    assert any(entry["layer"] == "matrix" for entry in report.unmeasurable())
    assert "matrix" in report.reasons()[0]


def test_the_summary_names_what_was_not_measurable_with_the_reason(
    unseen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    show(unseen(FREE))
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "Not measurable: BP-free, weight transport, backward depth, because for matrix, its"
        in printed
    )
    assert "What was measured is what is claimed" not in printed
    assert "weight transport none not measurable" in printed


def test_a_contradiction_takes_precedence_over_not_measurable(
    unseen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    report = unseen(Claims(transport="none", update_locked=False))
    assert report.verdict == "contradicted"
    show(report)
    printed = capsys.readouterr().out
    assert "CONTRADICTED  update_locked" in printed
    assert "Not measurable" in printed


def test_a_claim_beside_the_main_ones_counts_where_it_is_made(unseen: Any) -> None:
    report = unseen(None)
    seen = {"bp_free": True, "transport": "none", "backward_depth": 0, "couples": None}
    measured = {**report.measured, **seen}
    assert replace(report, measured=measured).verdict == "measured"
    claimed = replace(report, measured=measured, claims=Claims(couples="none"))
    assert claimed.verdict == "not measurable"
    assert claimed.reasons() == [NOISE]
    assert replace(report, measured=measured, claims=FREE).verdict == "as claimed"
