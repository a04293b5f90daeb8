"""The audit is right on plain PyTorch code, for backpropagation as for local learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import lbench
from lbench.auditing.report import Report
from lbench.errors import UsageError
from tests.auditing.snippets import Snippet
from tests.auditing.snippets_backprop import BACKPROPAGATION
from tests.auditing.snippets_honest import HONEST, Case

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
]

NOT_MEASURABLE: Mapping[str, str] = {}
"""Kinds that the audit may leave open, with the reason that it gives."""
WRONG_TODAY: Mapping[str, str] = {}
"""Kinds on which the audit is wrong, and how."""


def marked(kinds: Mapping[str, Any]) -> list[Any]:
    marks = {
        name: [pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError)]
        for name, reason in WRONG_TODAY.items()
    }
    return [pytest.param(name, marks=marks.get(name, [])) for name in kinds]


def made(name: str) -> Snippet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (BACKPROPAGATION[name] if name in BACKPROPAGATION else HONEST[name].build)()


def audited(name: str) -> Report | None:
    """None where the audit refuses the step."""
    snippet = made(name)
    try:
        return lbench.audit(
            snippet.step, snippet.model, snippet.batch, units=snippet.units, predict=snippet.predict
        )
    except UsageError:
        return None


def verdict(report: Report | None) -> tuple[Any, ...] | None:
    words = "transport", "backward_depth", "bp_free"
    return None if report is None else tuple(report.measured[word] for word in words)


@pytest.mark.parametrize("name", marked(BACKPROPAGATION))
def test_backpropagation_is_seen(name: str) -> None:
    found = verdict(audited(name))
    if name in NOT_MEASURABLE:
        assert found in (None, (None, None, None))
    else:
        assert found == ("full", "full", False)


@pytest.mark.parametrize("name", marked(HONEST))
def test_local_learning_is_seen(name: str) -> None:
    case: Case = HONEST[name]
    report = audited(name)
    found = verdict(report)
    if name in NOT_MEASURABLE:
        assert found in (None, (None, None, None))
        return
    assert found == (case.transport, case.depth, case.bp_free)
    if case.locked is not None:
        assert report is not None
        assert report.measured["update_locked"] == case.locked


def test_at_most_three_kinds_are_left_open() -> None:
    assert len(NOT_MEASURABLE) <= 3
    assert not set(NOT_MEASURABLE) & set(WRONG_TODAY)
    assert {*NOT_MEASURABLE, *WRONG_TODAY} <= {*BACKPROPAGATION, *HONEST}
    assert not set(BACKPROPAGATION) & set(HONEST)


@pytest.mark.parametrize("name", [*BACKPROPAGATION, *HONEST])
def test_every_step_trains_as_it_stands(name: str) -> None:
    """The steps are code that works, in float32, without an audit."""
    snippet = made(name)
    used = {
        n: p.detach().clone()
        for n, p in snippet.model.named_parameters()
        if not n.startswith("unused") and "feedback" not in n
    }
    for _ in range(2):
        snippet.step(snippet.model, snippet.batch)
    logits: Tensor = (snippet.predict or (lambda model, x: model(x)))(snippet.model, snippet.x)
    assert logits.isfinite().all()
    now = dict(snippet.model.named_parameters())
    assert all(not torch.equal(now[n], p) for n, p in used.items() if n.endswith("weight"))
