"""What a search chose is compared with the defaults, paired by seed, and the report says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lbench.report.entries import answer, draw
from lbench.report.study import make_report
from lbench.report.study_records import run_records
from lbench.report.worth import worths
from lbench.studies.definition import Span
from lbench.studies.results import Final, StudyData, Trial
from lbench.studies.search_summary import edges, ranges
from tests.report.studies import Trained, with_errors


def compared(
    trained: Trained, chosen: Sequence[float], defaults: Sequence[float], *, margin: float = 0.5
) -> StudyData:
    """The search with these test errors by seed, of what was chosen and of the defaults."""
    results = with_errors(trained.search, [chosen])
    results = replace(results, study=replace(results.study, margin=margin))
    (final,) = results.finals
    (theirs,) = with_errors(trained.search, [defaults]).finals
    other = replace(theirs.cell, fingerprint="0" * 64)
    (search,) = results.searches
    return replace(results, searches=[replace(search, defaults=Final(final.point, {}, other,
                                                                     theirs.runs))])  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "defaults", "words"),
    [
        ((2.0, 2.1, 1.9), (3.0, 3.2, 2.9), "has a lower test error than the defaults (-1.03"),
        ((8.1, 8.0, 8.2), (3.0, 3.2, 2.9), "has a higher test error than the defaults (+5.07"),
        ((3.0, 3.1, 3.0), (3.01, 3.09, 3.0), "have equal test errors within the margin"),
        ((2.0, 5.0), (3.0, 3.0), "is undecided (+0.50"),
        ((2.0,), (3.0,), "is undecided (-1.00"),
    ],
)
def test_what_was_chosen_is_compared_with_the_defaults_by_seed(
    trained: Trained, chosen: Sequence[float], defaults: Sequence[float], words: str
) -> None:
    results = compared(trained, chosen, defaults)
    (worth,) = worths(results).values()
    assert words in worth.words
    assert f"n = {len(chosen)}" in worth.words
    assert f"the defaults have {sum(defaults) / len(defaults):.2f} %" in worth.words
    assert answer(results).sentence.endswith(worth.words)
    assert json.loads(json.dumps(worth.as_dict()))["chosen"] is False


def test_unfinished_runs_of_the_defaults_are_no_pairs(trained: Trained) -> None:
    results = compared(trained, (2.0, 2.1), (3.0, 3.1))
    (search,) = results.searches
    assert search.defaults is not None
    failed = [replace(run, status="failed") for run in search.defaults.runs]
    lost = replace(search, defaults=replace(search.defaults, runs=failed))
    (worth,) = worths(replace(results, searches=[lost])).values()
    assert worth.words == "Not compared with the defaults: no seed is finished with both."


@pytest.mark.parametrize("how", ["trial", "cell"])
def test_a_search_that_chose_the_defaults_says_so(trained: Trained, how: str) -> None:
    results = with_errors(trained.search, [(2.0, 2.2)])
    (search,), (final,) = results.searches, results.finals
    assert search.best is not None
    if how == "trial":
        search = replace(search, best=replace(search.best, defaults=True))
    else:  # a sampler suggested them
        search = replace(search, defaults=final)
    (worth,) = worths(replace(results, searches=[search])).values()
    assert worth.words.startswith("The search chose the defaults")
    assert worth.defaults is not None
    assert worth.defaults.mean == pytest.approx(2.1)


@pytest.mark.usefixtures("undrawn")
def test_a_page_and_its_runs_have_the_defaults(trained: Trained, tmp_path: Path) -> None:
    results = compared(trained, (2.0, 2.1, 1.9), (3.0, 3.2, 2.9))
    report = make_report(results, tmp_path / "report", home=trained.home)
    assert "has a lower test error than the defaults" in report.page.read_text()
    rows = [row for row in run_records(results) if row["role"] == "defaults"]
    assert [row["test_error"] for row in rows] == [3.0, 3.2, 2.9]


def test_defaults_outside_of_a_range_are_no_part_of_it(trained: Trained) -> None:
    (search,) = trained.search.searches
    space = {"weight_decay": Span(1e-7, 1e-2, log=True)}
    own = Trial(0, "complete", {"weight_decay": 0.0}, (2.0,), defaults=True)
    other = Trial(1, "complete", {"weight_decay": 1e-3}, (2.1,))
    made = replace(
        search, space=space, trials=[own, other], best=own, indistinguishable=[own, other]
    )
    (found,) = ranges(made)
    assert (found.best, found.values, found.words) == (0.0, [1e-3], "0.001")
    (alone,) = ranges(replace(made, indistinguishable=[own]))
    assert (alone.words, alone.whole) == ("0", False)
    assert edges([made]) == []
    assert draw(replace(trained.search, searches=[made]), "slice:weight_decay")
