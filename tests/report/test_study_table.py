from __future__ import annotations

from dataclasses import replace

import pytest

from lbench.report.lines import groups
from lbench.report.study_records import records
from lbench.report.study_table import cost_tables, results_tables
from lbench.report.verdict import SET, verdict
from lbench.statistics.intervals import binomial, mean_difference
from lbench.studies.results import StudyData
from tests.report.studies import Trained, with_errors


def judged(results: StudyData) -> list:  # type: ignore[type-arg]
    return [(group, verdict(group.lines)) for group in groups(results)]


COLLAPSED = ([0.84, 0.84], [89.97, 89.97], [1.5, 1.6], [41.0, 49.0])


def test_a_collapsed_rule_is_not_bold(trained: Trained) -> None:
    tables = judged(with_errors(trained.grid, COLLAPSED))
    (table,) = results_tables(tables)
    assert list(table.bold) == [0, 2]
    assert [row["best_set"] for row in records(tables)] == [True, False, True, False]
    (note,) = [note for note in table.notes if note.startswith("Bold")]
    assert note.startswith(f"Bold: {SET}, by two proportions of the test examples")
    assert "nothing is said of other seeds" in note


def test_kept_predictions_decide_between_cells_of_one_seed(trained: Trained) -> None:
    finals = [replace(final, runs=final.runs[:1]) for final in trained.grid.finals]
    ((group, found),) = judged(replace(trained.grid, finals=finals))
    assert found.method.startswith("McNemar's test on the test examples, Holm-adjusted")
    assert found.best[0].row.test == min(
        (line.row.test for line in group.known), key=lambda test: test.mean if test else 100.0
    )
    lost = [replace(r, run_dir=r.run_dir / "gone") for f in finals for r in f.runs]
    finals = [replace(f, runs=[run]) for f, run in zip(finals, lost, strict=True)]
    ((_, found),) = judged(replace(trained.grid, finals=finals))
    assert found.method.startswith("two proportions of the test examples")


def test_a_report_says_where_predictions_of_some_seeds_alone_decided(trained: Trained) -> None:
    finals = [replace(final, runs=final.runs[:2]) for final in trained.grid.finals]
    for final in finals:
        final.runs[0] = replace(final.runs[0], run_dir=final.runs[0].run_dir / "gone")
    ((_, found),) = judged(replace(trained.grid, finals=finals))
    assert found.method.startswith("McNemar's test for those seeds alone whose predictions were k")
    assert "nothing is said of other seeds" in found.method


def test_each_test_that_decided_is_named(trained: Trained) -> None:
    errors = [[2.0, 2.1, 1.9], [2.1, 2.0, 2.15], [89.97] * 3, [60.0, 61.0, 62.0]]
    ((_, found),) = judged(with_errors(trained.grid, errors))
    assert found.method.startswith("paired t tests against the lowest mean over common seeds, Holm")
    errors[0] = [2.0] * 3
    ((group, found),) = judged(with_errors(trained.grid, errors))
    assert found.method.startswith("paired t tests against the lowest mean over common seeds; wh")
    assert "two proportions" in found.method
    assert list(found.best) == group.lines[:2]


def test_the_difference_is_paired_with_the_first_line_by_seed(trained: Trained) -> None:
    ((group, _),) = judged(trained.grid)
    first, second, *_ = group.lines
    points = mean_difference(second.row.errors, first.row.errors)
    assert points is not None
    rows = records(judged(trained.grid))
    assert rows[0]["difference"] is None
    assert rows[1]["difference"] == pytest.approx(points.mean)
    assert rows[1]["difference_low"] == pytest.approx(points.low)


def test_the_test_sets_own_interval_stands_beside_that_over_seeds(trained: Trained) -> None:
    row = records(judged(trained.grid))[0]
    assert (row["sampling_low"], row["sampling_high"]) == binomial(row["test_error"], 359)


def test_the_interval_over_seeds_is_named_where_there_is_one(trained: Trained) -> None:
    (table,) = results_tables(judged(trained.grid))
    assert sum(note.startswith("Test error: the mean, and the 95 %") for note in table.notes) == 1
    finals = [replace(final, runs=final.runs[:1]) for final in trained.grid.finals]
    (table,) = results_tables(judged(replace(trained.grid, finals=finals)))
    assert not any(note.startswith("Test error") for note in table.notes)


def test_settings_that_are_the_same_everywhere_are_not_repeated(trained: Trained) -> None:
    ((group, _),) = judged(trained.grid)
    assert [line.settings for line in group.lines] == ["", "leadership=0.3", "leadership=0.9", ""]
    assert [line.name for line in group.lines] == ["bp", "lfnn_l", "lfnn_l", "wild_bp"]


def test_cells_of_another_task_are_another_group(trained: Trained) -> None:
    first, *others = trained.grid.finals
    smaller = replace(first.point, settings={**first.point.settings, "examples": 100})
    found = groups(replace(trained.grid, finals=[replace(first, point=smaller), *others]))
    assert [len(group.lines) for group in found] == [1, 3]
    assert [group.task_text for group in found] == ["examples=100", ""]


def test_a_long_table_keeps_the_lowest_and_says_what_is_left_out(trained: Trained) -> None:
    (table,) = results_tables(judged(trained.grid), limit=2)
    errors = [row[table.columns.index("test error %")] for row in table.rows]
    assert len(errors) == 2
    every = sorted(line.row.test.mean for line in groups(trained.grid)[0].known if line.row.test)
    assert [error.split()[0] for error in sorted(errors, key=lambda e: float(e.split()[0]))] == [
        f"{value:.2f}" for value in every[:2]
    ]
    assert table.notes[0].startswith("2 more configurations")


def test_a_contradiction_is_red_and_told(trained: Trained) -> None:
    first, *others = trained.grid.finals
    wrong = [replace(run, contradictions=["writes: claimed own"]) for run in first.runs]
    finals = [replace(first, runs=wrong), *others]
    (table,) = cost_tables(judged(replace(trained.grid, finals=finals)))
    assert list(table.red) == [0]
    assert table.rows[0][table.columns.index("audit")] == "CONTRADICTED"
    assert "bp: writes: claimed own" in table.notes


def test_columns_that_say_nothing_are_left_out(trained: Trained) -> None:
    (table,) = results_tables(judged(trained.grid))
    assert "chosen by the search" not in table.columns
    assert "task" not in table.columns
    (table,) = results_tables(judged(trained.search))
    assert "chosen by the search" in table.columns
