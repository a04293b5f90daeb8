from __future__ import annotations

from typing import Any

import pytest

from lbench.store.audits import all_contradictions, worst


def audit(**measured: Any) -> dict[str, Any]:
    return {name: {"claimed": "c", "measured": value} for name, value in measured.items()}


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("bp_free", True, False),
        ("transport", "scalar", "sign"),
        ("backward_depth", 2, 10),
        ("backward_depth", 2, "full"),
        ("update_locked", False, True),
        ("global_error", "none", "scalar"),
        ("couples", "mean", "rows"),
        ("writes", "shared", "foreign"),
        ("prediction", "clean", "leaks"),
        ("randomness", "addressed", "global"),
        ("writes", None, "own"),
    ],
)
def test_the_worst_value_of_several_seeds_counts(name: str, better: Any, worse: Any) -> None:
    audits = [audit(**{name: better}), None, audit(**{name: worse})]
    assert worst(audits) == audit(**{name: worse})
    assert worst(reversed(audits)) == audit(**{name: worse})


def test_runs_without_an_audit_have_no_worst_one() -> None:
    assert worst([None, None]) is None
    assert worst([]) is None
    assert worst([audit(writes=None)]) == audit(writes=None)


def test_each_contradiction_is_returned_once() -> None:
    assert all_contradictions([["a", "b"], [], ["b", "c"]]) == ["a", "b", "c"]
