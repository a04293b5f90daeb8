"""``lbench report``, on a study that ``lbench study`` ran."""

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
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(STUDY)
    lbench("study", "small.toml", "--yes", "--workers", "1", "--threads", "1", cwd=folder)
    return folder


def test_a_study_that_was_not_run_says_how_to_run_it(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    said = lbench("report", "small.toml", cwd=tmp_path, code=2)
    assert "Study small has no finished run" in said
    assert "lbench study small.toml" in said
    assert not (tmp_path / "lbench-runs").exists()


def test_an_unknown_study_names_the_nearest(tmp_path: Path) -> None:
    said = lbench("report", "leadershp", cwd=tmp_path, code=2)
    assert "Unknown study 'leadershp'" in said
    assert "leadership" in said


def test_a_study_with_an_unknown_figure_is_told_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(STUDY.replace('"bars"', '"bras"'))
    said = lbench("study", "small.toml", "--yes", cwd=tmp_path, code=2)
    assert "Unknown figure 'bras'" in said
    assert "Did you mean bars?" in said
    assert not (tmp_path / "lbench-runs").exists()


def test_the_report_is_written_again_without_a_run(ran: Path) -> None:
    page = ran / "lbench-runs" / "reports" / "small" / "report.html"
    written = page.stat().st_mtime_ns
    runs = sorted((ran / "lbench-runs" / "runs").rglob("result.json"))
    times = [path.stat().st_mtime_ns for path in runs]
    said = lbench("report", "small.toml", "--html", "copy/page.html", cwd=ran)
    assert len(runs) == 4
    assert [path.stat().st_mtime_ns for path in runs] == times
    assert page.stat().st_mtime_ns > written
    assert (ran / "copy" / "page.html").read_bytes() == page.read_bytes()
    assert "the lowest test error is that of bp" in " ".join(said.split())
    assert "copy/page.html" in said


def test_json_has_the_answer_and_every_cell(ran: Path) -> None:
    found = json.loads(lbench("report", "small.toml", "--json", cwd=ran))
    assert found["answer"]["sentence"].startswith("On Digits (8x8)")
    assert [cell["settings"] for cell in found["cells"]] == [
        "epochs=1 lr=0.001", "epochs=1 lr=0.003",
    ]  # fmt: skip
    assert [cell["seeds_finished"] for cell in found["cells"]] == [2, 2]
    assert Path(found["report"]).is_file()
    assert found["left_out"] == {}
