"""How a study is followed."""

from __future__ import annotations

import pytest

from lbench.api.study_progress import StudyProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("lbench.api.study_progress.time.monotonic", lambda: now[0])
    return now


def test_the_time_left_counts_what_has_ended_in_this_process(clock: list[float]) -> None:
    followed = StudyProgress()
    for point in ("one", "other"):
        followed.search(point, 25, 50, 2.0)
        followed.final(point, 0, 5)
    assert followed.left() is None
    followed.run("one trial 25", 0, 100)
    clock[0] += 30
    followed.search("one", 28, 50, 2.0)
    # Three in 30 s; 22 + 25 trials and 10 final runs are left.
    assert followed.left() == pytest.approx(570)
    followed.search("one", 50, 50, 2.0)
    followed.search("other", 50, 50, 2.0)
    for point in ("one", "other"):
        followed.final(point, 5, 5)
    assert followed.left() is None


def test_a_line_says_how_far_a_point_is(capsys: pytest.CaptureFixture[str]) -> None:
    followed = StudyProgress()
    followed.search("lfnn_l/digits/mlp", 3, 50, 2.5)
    followed.final("lfnn_l/digits/mlp", 0, 5)
    followed.search("bp/digits/mlp", 0, 50, None)
    followed.search("lfnn_l/digits/mlp", 50, 50, 2.25)
    followed.final("lfnn_l/digits/mlp", 5, 5)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "lfnn_l/digits/mlp  trial 3/50  best 2.50"
    # Between two lines of ten seconds only what is over is told.
    assert told[1:] == ["lfnn_l/digits/mlp  trial 50/50  best 2.25  final run 5/5"]
