"""Tests of lbench.run and its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbench.api.training import run, seeds_of
from lbench.errors import UsageError
from lbench.rundir import RunDir
from tests.api.conftest import Trained
from tests.training.helper import lbench_run

QUICK: dict[str, Any] = {"epochs": 2, "threads": 1, "progress": False}


def test_options_of_the_rule_and_parts_of_the_recipe_are_distinguished(trained: Trained) -> None:
    content = trained.lfnn.content
    assert content["config"]["leadership"] == 0.5
    assert content["recipe"]["lr"] == 0.002


def test_the_command_line_reports_the_runs_of_the_function(trained: Trained) -> None:
    words = ["--rule", "lfnn_l", "--dataset", "digits", "--epochs", "2", "--seeds", "2"]
    words += ["--set", "leadership=0.5", "--lr", "0.002", "--probe", "leaders"]
    content = lbench_run(*words, home=trained.home)
    assert content["cell"] == trained.lfnn.cell
    assert all(run["cached"] for run in content["runs"])


def test_numbers_per_block_are_in_results_tables_and_run_directories(trained: Trained) -> None:
    numbers = {"workers": [26, 26], "leaders": [13, 13]}
    assert trained.lfnn.per_block == trained.lfnn.content["per_block"] == numbers
    spec = RunDir(trained.lfnn.run_dirs[0]).spec()
    assert spec is not None
    assert spec["per_block"] == numbers
    table = str(trained.lfnn.table())
    assert "workers per block" in table
    assert "leaders per block" in table
    assert trained.bp.per_block == {}
    assert "per block" not in str(trained.bp.table())


def test_a_finished_run_is_not_trained_again(trained: Trained) -> None:
    again = run("bp", "digits", seeds=[1], home=trained.home, **QUICK)
    assert [row["cached"] for row in again.runs] == [True]
    assert again.runs[0]["test_error"] == trained.bp.runs[1]["test_error"]


def test_the_result_has_the_mean_with_its_interval(trained: Trained) -> None:
    errors = [row["test_error"] for row in trained.bp.runs]
    summary = trained.bp.test_error
    assert summary is not None
    assert summary.mean == pytest.approx(sum(errors) / 2)
    assert summary.low is not None
    assert summary.low <= min(errors)
    assert trained.bp.finished
    assert not trained.bp.stopped
    assert repr(trained.bp) == (
        f"<RunResult {trained.bp.cell}: 2 of 2 seeds finished, test error {summary.mean:.2f} %>"
    )


def test_a_table_is_text_and_html(trained: Trained) -> None:
    table = trained.bp.table()
    assert "test error %" in str(table)
    assert trained.bp.cell in str(table)
    assert "| test error % |" in table.markdown()
    page = trained.bp._repr_html_()
    assert page.startswith("<table>")
    assert "87,370 for prediction" in page


def test_frames_have_a_row_per_seed_and_per_epoch(trained: Trained) -> None:
    frame = trained.bp.frame()
    assert list(frame["seed"]) == [0, 1]
    assert frame["test_error"].tolist() == [row["test_error"] for row in trained.bp.runs]
    assert frame["seconds_training"].gt(0).all()
    epochs = trained.bp.epochs()
    assert list(zip(epochs["seed"], epochs["epoch"], strict=True)) == [
        (0, 1), (0, 2), (1, 1), (1, 2),
    ]  # fmt: skip


def test_a_plot_has_a_line_per_seed(trained: Trained) -> None:
    loss, error = trained.bp.plot().axes
    assert [len(axes.lines) for axes in (loss, error)] == [2, 2]
    assert error.get_ylabel() == "validation error (%)"
    rows = trained.bp.epochs()
    assert list(error.lines[1].get_ydata()) == rows[rows["seed"] == 1]["val_error"].tolist()


def test_progress_is_written_to_standard_error_unless_turned_off(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quiet = {**QUICK, "epochs": 1, "home": tmp_path, "store": False}
    run("bp", "digits", **quiet)
    assert capfd.readouterr() == ("", "")
    run("bp", "digits", **{**quiet, "progress": True, "force": True})
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 1/1" in err


def test_a_run_that_diverges_raises_no_exception(tmp_path: Path) -> None:
    # Each step multiplies the weights by 1 - 100.
    explodes = {"optimizer": "sgd", "lr": 100.0, "schedule": "constant", "weight_decay": 1.0}
    result = run("bp", "digits", **explodes, home=tmp_path, store=False, **QUICK)
    assert not result.finished
    assert result.test_error is None
    assert result.runs[0]["status"] == "diverged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "lfn_l"}, "lfn_l"),
        ({"dataset": "digit"}, "digit"),
        ({"leadershp": 0.5}, "leadershp"),
        ({"leadership": 2}, "leadership"),
        ({"probes": ["leader"]}, "leader"),
        ({"seeds": 0}, "seeds"),
        ({"plugin": "no_such_file.py"}, "no_such_file.py"),
    ],
)
def test_an_error_names_the_wrong_argument(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    correct: dict[str, Any] = {"rule": "lfnn_l", "dataset": "digits", "home": tmp_path, **QUICK}
    with pytest.raises(UsageError, match=message):
        run(**{**correct, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_a_number_or_a_list() -> None:
    assert seeds_of(3) == (0, 1, 2)
    assert seeds_of([5, 7]) == (5, 7)
    for wrong in (0, [], [-1], ["1"]):
        with pytest.raises(UsageError, match="seeds must be"):
            seeds_of(wrong)  # type: ignore[arg-type]
