"""Tests of ``lbench report`` on a study that ``lbench study`` ran."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import forked

STUDY = """
title = "A small study"
question = "Does bp learn digits?"
published = "none"
kind = "grid"
datasets = ["digits"]
rules = ["bp"]
protocol = "strict"
seeds = 2
analysis = "best"
figures = ["bars"]
[set]
epochs = 1
[axes]
lr = [0.001, 0.003]
"""


def lbench(*arguments: str, cwd: Path, code: int = 0) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LBENCH_")}
    done = forked.run(*arguments, cwd=cwd, env=env)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(STUDY)
    lbench("study", "small.toml", "--yes", "--workers", "1", "--threads", "1", cwd=folder)
    return folder


def test_the_error_for_a_study_without_runs_names_the_command_that_runs_it(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    output = lbench("report", "small.toml", cwd=tmp_path, code=2)
    assert "Study small has no finished run" in output
    assert "lbench study small.toml" in output
    assert not (tmp_path / "lbench-runs").exists()


def test_the_error_for_an_unknown_study_names_the_nearest(tmp_path: Path) -> None:
    output = lbench("report", "leadershp", cwd=tmp_path, code=2)
    assert "Unknown study 'leadershp'" in output
    assert "leadership" in output


def test_an_unknown_figure_of_a_study_is_an_error_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(STUDY.replace('"bars"', '"bras"'))
    output = lbench("study", "small.toml", "--yes", cwd=tmp_path, code=2)
    assert "Unknown figure 'bras'" in output
    assert "Did you mean bars?" in output
    assert not (tmp_path / "lbench-runs").exists()


def test_the_report_is_written_again_without_training(folder: Path) -> None:
    page = folder / "lbench-runs" / "reports" / "small" / "report.html"
    written = page.stat().st_mtime_ns
    runs = sorted((folder / "lbench-runs" / "runs").rglob("result.json"))
    times = [path.stat().st_mtime_ns for path in runs]
    output = lbench("report", "small.toml", "--html", "copy/page.html", cwd=folder)
    assert len(runs) == 4
    assert [path.stat().st_mtime_ns for path in runs] == times
    assert page.stat().st_mtime_ns > written
    assert (folder / "copy" / "page.html").read_bytes() == page.read_bytes()
    assert "the lowest test error is that of bp" in " ".join(output.split())
    assert "copy/page.html" in output


def test_json_has_the_answer_and_every_configuration(folder: Path) -> None:
    content = json.loads(lbench("report", "small.toml", "--json", cwd=folder))
    assert content["answer"]["sentence"].startswith("On Digits (8x8)")
    assert [cell["settings"] for cell in content["cells"]] == [
        "epochs=1 lr=0.001", "epochs=1 lr=0.003",
    ]  # fmt: skip
    assert [cell["seeds_finished"] for cell in content["cells"]] == [2, 2]
    assert Path(content["report"]).is_file()
    assert content["left_out"] == {}
