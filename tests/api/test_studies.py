"""Tests of lbench.study and lbench.tune."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lbench.api.studies import study, tune
from lbench.api.study_result import StudyResult
from lbench.errors import UsageError
from lbench.output.table import Table, stacked

GRID = """
title = "Two rules on digits"
question = "Which errs less?"
kind = "grid"
datasets = ["digits"]
rules = ["bp", "frozen"]
seeds = 2

[set]
epochs = 1
"net.widths" = [20]
"""
QUICK: dict[str, Any] = {"workers": 1, "threads": 1, "progress": False}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    home = tmp_path_factory.mktemp("study")
    file = home / "two.toml"
    file.write_text(GRID)
    return study(file, home=home, **QUICK)


def test_a_study_returns_its_answer_and_its_page(grid: StudyResult) -> None:
    assert grid.finished
    assert grid.answer is not None
    assert "bp" in grid.answer
    assert grid.page is not None
    assert grid.page.read_text().startswith("<!DOCTYPE html>")
    assert grid.content["complete"]
    assert repr(grid) == f"<StudyResult two, complete: {grid.answer}>"
    assert grid.best == []


def test_a_study_has_tables_and_frames(grid: StudyResult) -> None:
    table = grid.table()
    assert [row[table.columns.index("rule")] for row in table.rows] == ["bp", "frozen"]
    assert list(grid.frame()["rule"]) == ["bp", "frozen"]
    assert len(grid.runs()) == 4
    assert "<table>" in grid._repr_html_()


def test_a_study_draws_the_figures_of_its_report(grid: StudyResult) -> None:
    assert len(grid.plot().axes) == 1
    with pytest.raises(UsageError, match="no_such_figure"):
        grid.plot("no_such_figure")
    with pytest.raises(UsageError, match="has nothing to show"):
        grid.plot("history")


def test_a_search_returns_what_it_chose(tmp_path: Path) -> None:
    small = {"net.widths": [20], "batch": 64}
    result = tune("bp", "digits", trials=2, epochs=1, seeds=1, home=tmp_path, **small, **QUICK)
    assert result.finished
    (best,) = result.best
    assert "lr" in best["params"]
    assert best["command"].startswith("lbench run --rule bp --dataset digits")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda home: study("no_such_study", home=home), "no_such_study"),
        (lambda home: study("leadership", sampler="tpee", home=home), "tpee"),
        (lambda home: tune("bpp", "digits", home=home), "bpp"),
        (lambda home: tune("bp", "digits", sampler="grid", home=home), "grid"),
    ],
)
def test_an_error_names_the_wrong_argument(tmp_path: Path, call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_script_needs_no_guard_of_its_main_module(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(GRID)
    script = tmp_path / "script.py"
    script.write_text(
        "from lbench.api.studies import study\n"
        "result = study('two.toml', seeds=1, workers=1, threads=1, home='home', progress=False)\n"
        "print('finished', result.finished)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "finished True\n"


def test_tables_of_several_datasets_are_stacked() -> None:
    one = Table("MNIST", ("rule", "test error %"), [["bp", "1.8"]], [1], [0])
    two = Table("Digits", ("rule", "p"), [["bp", "0.3"], ["fa", "0.1"]], [1], (), [1])
    table = stacked([one, two])
    assert list(table.columns) == ["", "rule", "test error %", "p"]
    assert table.rows == [
        ["MNIST", "bp", "1.8", "—"],
        ["Digits", "bp", "—", "0.3"],
        ["Digits", "fa", "—", "0.1"],
    ]
    assert (list(table.right), list(table.bold), list(table.red)) == ([2, 3], [0], [2])
