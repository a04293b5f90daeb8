"""The audit is right on plain PyTorch code, for backpropagation and for local learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lbench
from lbench.auditing.report import Report
from tests.auditing.audits import few
from tests.auditing.snippets import BACKPROPAGATION, HONEST
from tests.auditing.snippets.step import Snippet

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
]


QUICK_BACKPROPAGATION = [
    "old weight_norm",
    "tied autoencoder",
    "sharpness-aware minimisation",
    "forward hooks that keep outputs",
    "checkpoint",
    "functional_call",
    "vjp",
    "layers that are autograd Functions",
    "recurrent cell by hand",
    "MultiheadAttention",
    "two bare matrices",
    "transposes by hand",
]
QUICK_HONEST = [
    "DFA by full backward hooks",
    "feedback alignment in a Function",
    "updates by hand",
    "a layer that is never called",
    "forward-forward, ReLU inside",
    "detach inside forward",
    "decoders of tied weights",
    "a recurrent block, through time",
    "a forward gradient by jvp",
]


def made(name: str) -> Snippet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (BACKPROPAGATION[name] if name in BACKPROPAGATION else HONEST[name].build)()


def audited(name: str) -> Report:
    snippet = made(name)
    return lbench.audit(
        snippet.step, snippet.model, snippet.batch, units=snippet.units, predict=snippet.predict
    )


def verdict(report: Report) -> tuple[Any, ...]:
    return tuple(report.measured[word] for word in ("transport", "backward_depth", "bp_free"))


@pytest.mark.parametrize("name", few(BACKPROPAGATION, QUICK_BACKPROPAGATION))
def test_backpropagation_is_seen(name: str) -> None:
    assert verdict(audited(name)) == ("full", "full", False)


@pytest.mark.parametrize("name", few(HONEST, QUICK_HONEST))
def test_local_learning_is_seen(name: str) -> None:
    case, report = HONEST[name], audited(name)
    assert verdict(report) == (case.transport, case.depth, case.bp_free)
    if case.locked is not None:
        assert report.measured["update_locked"] == case.locked


def test_no_two_kinds_share_a_name() -> None:
    assert not set(BACKPROPAGATION) & set(HONEST)


@pytest.mark.parametrize("name", [*BACKPROPAGATION, *HONEST])
def test_every_step_trains_without_an_audit(name: str) -> None:
    """The steps are working code in float32."""
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
