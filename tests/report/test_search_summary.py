"""Searches in words: counts, ranges of the best trials, and ends of what was searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from lbench.studies.definition import Span
from lbench.studies.results import SearchResult, Trial
from lbench.studies.search_summary import counted, edges, ranges
from tests.report.studies import Trained


def trial(number: int, value: float, **params: Any) -> Trial:
    return Trial(number, "complete", params, (value,))


def searched(base: SearchResult, space: Any, trials: Sequence[Trial]) -> SearchResult:
    return replace(base, space=space, trials=trials, best=trials[0], indistinguishable=trials)


def test_diverged_trials_are_counted_although_they_are_pruned_for_a_sampler(
    trained: Trained,
) -> None:
    lost = Trial(1, "pruned", {"lr": 9.0}, None, reason="diverged: loss nan at step 3")
    cut = Trial(2, "pruned", {"lr": 0.1}, None, reason="pruned at epoch 4: 9.00 %")
    base = searched(trained.search.searches[0], {}, [trial(0, 2.0, lr=0.01), lost, cut])
    assert (
        counted(replace(base, wanted=3))
        == "3 of 3 trials: 1 complete, 2 pruned; 1 of them diverged"
    )
    assert counted(replace(base, wanted=3, trials=[cut])) == "1 of 3 trials: 0 complete, 1 pruned"


@pytest.mark.parametrize(
    ("name", "domain", "values", "end"),
    [
        ("lr", Span(1e-4, 0.1, log=True), (0.09, 0.02), "upper end (0.1)"),
        ("lr", Span(1e-4, 0.1, log=True), (1.1e-4, 1.2e-4), "lower end (0.0001)"),
        ("lr", Span(1e-4, 0.1, log=True), (0.01, 0.09), None),
        ("lr", Span(1e-4, 0.1, log=True), (0.09, 1.1e-4), None),  # not identified
        ("lr", (0.001, 0.003, 0.01), (0.01, 0.01), "upper end (0.01)"),
        ("lr", (0.001, 0.003, 0.01), (0.003, 0.01), None),
        ("lr", (0.001, 0.01), (0.01, 0.01), None),  # two values have no middle
        ("lam", Span(0.1, 10.0, log=True), (10.0, 10.0), "upper end (10)"),
        ("leadership", Span(0.1, 1.0, 0.1), (1.0, 0.9), None),  # nothing is beyond the whole range
        ("leadership", Span(0.1, 0.8, 0.1), (0.8, 0.7), "upper end (0.8)"),
        ("optimizer", ("adam", "adamw", "sgd"), ("sgd", "sgd"), None),
    ],
)
def test_a_best_value_at_the_end_of_what_was_searched_is_named(
    trained: Trained, name: str, domain: Any, values: Sequence[Any], end: str | None
) -> None:
    trials = [trial(number, 2.0, **{name: value}) for number, value in enumerate(values)]
    base = trained.search.searches[0]
    base = replace(base, point=replace(base.point, rule="lfnn_l"))
    found = edges([searched(base, {name: domain}, trials)])
    assert len(found) == (end is not None)
    if end is not None:
        assert found[0].startswith(f"{name}: the best of 1 of 1 searches is at the {end} of")


@pytest.mark.parametrize(
    ("domain", "values", "words"),
    [
        (Span(0.1, 1.0, 0.1), (0.3, 1.0, 0.1), "0.1 ... 1 (the whole range: not identified)"),
        (Span(0.1, 1.0, 0.1), (0.3, 0.9, 0.1), "0.1 ... 0.9"),
        (Span(1e-4, 0.1, log=True), (1e-3, 1.1e-4, 0.09), "(the whole range: not identified)"),
        (Span(1e-4, 0.1, log=True), (1e-3, 0.02, 0.09), "0.001 ... 0.09"),
        (Span(0.0, 100.0), (50.0, 3.0, 97.0), "3 ... 97 (the whole range: not identified)"),
        (("adam", "sgd"), ("sgd", "adam"), "adam, sgd (the whole range: not identified)"),
        (("adam", "sgd"), ("sgd", "sgd"), "sgd"),
        (("adam",), ("adam",), "adam"),
        ((True, False), (False, False), "false"),
    ],
)
def test_a_range_says_when_it_is_all_that_was_searched(
    trained: Trained, domain: Any, values: Sequence[Any], words: str
) -> None:
    trials = [trial(number, 2.0, x=value) for number, value in enumerate(values)]
    (found,) = ranges(searched(trained.search.searches[0], {"x": domain}, trials))
    assert found.words.endswith(words)
    assert found.best == values[0]
    assert found.whole == ("whole range" in words)
