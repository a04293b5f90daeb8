"""Tests of the progress of a study."""

from __future__ import annotations

import pytest

from lbench.api.study_progress import StudyProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("lbench.api.study_progress.time.monotonic", lambda: now[0])
    return now


def test_the_time_left_is_estimated_from_the_runs_that_ended_in_this_process(
    clock: list[float],
) -> None:
    progress = StudyProgress()
    for point in ("one", "other"):
        progress.search(point, 25, 50, 2.0)
        progress.final(point, 0, 5)
    assert progress.left() is None
    progress.run("one trial 25", 0, 100)
    clock[0] += 30
    progress.search("one", 28, 50, 2.0)
    # Three trials took 30 s; 22 + 25 trials and 10 final runs are left.
    assert progress.left() == pytest.approx(570)
    progress.search("one", 50, 50, 2.0)
    progress.search("other", 50, 50, 2.0)
    for point in ("one", "other"):
        progress.final(point, 5, 5)
    assert progress.left() is None


def test_a_line_shows_the_progress_of_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StudyProgress()
    progress.search("lfnn_l/digits/mlp", 3, 50, 2.5)
    progress.final("lfnn_l/digits/mlp", 0, 5)
    progress.search("bp/digits/mlp", 0, 50, None)
    progress.search("lfnn_l/digits/mlp", 50, 50, 2.25)
    progress.final("lfnn_l/digits/mlp", 5, 5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "lfnn_l/digits/mlp  trial 3/50  best 2.50"
    # A point that is complete has a line at once; the others wait ten seconds.
    assert lines[1:] == ["lfnn_l/digits/mlp  trial 50/50  best 2.25  final run 5/5"]


def test_a_long_run_of_a_study_has_lines_before_it_ends(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = StudyProgress(seconds=120)
    progress.final("bp/digits/mlp", 0, 2)
    progress.run("bp/digits/mlp seed 1", 10, 100)
    for second in range(1, 31):
        clock[0] += 1
        progress.run("bp/digits/mlp seed 0", second, 60, left=60.0 - second)
    lines = capsys.readouterr().err.splitlines()[1:]
    assert lines[0] == "bp/digits/mlp seed 0  17 %  50 s left  and 1 more running"
    assert len(lines) == 3
