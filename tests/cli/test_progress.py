"""Tests of the progress of a run."""

from __future__ import annotations

import io
from typing import Any

import pytest

from lbench.api.progress import Command, Progress, about, duration
from lbench.training.forecast import TimeEstimate
from lbench.training.reporter import TIME_OVER


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(step: int, epoch: int) -> dict[str, Any]:
    seconds = {"training": 1.0, "evaluation": 0.5, "other": 0.0}
    return {
        "epoch": epoch, "step": step, "train_loss": 0.25, "val_error": 3.5, "seconds": seconds,
    }  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("lbench.api.progress.time.monotonic", lambda: now[0])
    return now


def test_a_terminal_has_one_line_with_epoch_loss_validation_error_and_time_left(
    clock: list[float],
) -> None:
    stream = Terminal()
    progress = Progress("seed 0", stream)
    progress.plan(steps=100, per_epoch=50)
    progress.step(10, 0.5)
    clock[0] += 2
    progress.epoch(row(50, 1))
    progress.expect(TimeEstimate(left=3, epochs=6, end=0))
    clock[0] += 1
    progress.step(60, 0.25)
    shown = stream.getvalue()
    assert "\n" not in shown
    last = shown.split("\r")[-1]
    assert last.split("  ") == [
        "seed 0", "epoch 2/2", "60 %", "loss 0.2500", "val error 3.50 %", "2 s left",
    ]  # fmt: skip
    progress.note("A sentence.")
    assert stream.getvalue().endswith("\rseed 0  A sentence.\n")


def test_another_stream_has_a_line_per_epoch_and_at_most_one_per_second(
    clock: list[float],
) -> None:
    stream = io.StringIO()
    progress = Progress("seed 0", stream)
    progress.plan(steps=200, per_epoch=50)
    progress.step(25, 0.5)
    for epoch, wait in ((1, 2.0), (2, 0.5), (3, 0.7), (4, 0.1)):
        clock[0] += wait
        progress.epoch(row(50 * epoch, epoch))
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["epoch 1/4", "epoch 3/4", "epoch 4/4"]
    assert lines[0].startswith("seed 0  epoch 1/4  loss 0.2500  val error 3.50 %  2 s")
    assert "\r" not in stream.getvalue()


def test_another_stream_has_lines_at_growing_intervals_within_an_epoch(
    clock: list[float],
) -> None:
    stream = io.StringIO()
    progress = Progress("seed 0", stream)
    progress.plan(steps=2000, per_epoch=2000)
    for step in range(1, 2001):
        clock[0] += 1
        progress.expect(TimeEstimate(left=2000 - step, epochs=2000, end=0))
        progress.step(step, 0.5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "seed 0  epoch 1/1  0 %  loss 0.5000  33 min 10 s left"
    assert lines[1].endswith("33 min 00 s left")
    assert 20 + 40 < len(lines) < 20 + 60, "every 10 s at first, later each 20th of the time"


ONE = TimeEstimate(left=8400, epochs=8390, end=10)


@pytest.mark.parametrize(
    ("estimate", "command", "sentence"),
    [
        (ONE, Command(30), "This takes about 2 h 20 min; --epochs 3 takes 14 min; Ctrl-C keeps"),
        (ONE, Command(None), "This takes about 2 h 20 min; Ctrl-C keeps a checkpoint."),
        (ONE, Command(1), "This takes about 2 h 20 min; Ctrl-C keeps a checkpoint."),
        (
            ONE,
            Command(30, later=2),
            "This takes about 7 h for 3 seeds, 2 h 20 min per seed; --epochs 3 takes 42 min;",
        ),
        (
            TimeEstimate(4200, 8390, 10),
            Command(30),
            "The rest takes about 1 h 10 min; Ctrl-C keeps",
        ),
        (
            TimeEstimate(4200, 8390, 10),
            Command(30, later=1),
            "The rest takes about 3 h 30 min for 2 seeds, 2 h 20 min per seed; Ctrl-C keeps",
        ),
        (TimeEstimate(31, 28, 3), Command(30), "This takes about 30 s; Ctrl-C keeps a checkpoint."),
        (
            TimeEstimate(20, 17, 3),
            Command(30, later=1),
            "This takes about 40 s for 2 seeds, 20 s per",
        ),
        (TimeEstimate(20, 17, 3), Command(30), ""),
        (ONE, Command(30, announce=False), ""),
        (ONE, None, ""),
    ],
)
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_long_run_says_once_what_it_takes(
    estimate: TimeEstimate, command: Command | None, sentence: str, kind: type[io.StringIO]
) -> None:
    stream = kind()
    progress = Progress("seed 0", stream, command)
    progress.expect(estimate)
    progress.expect(estimate)
    assert stream.getvalue().count("akes about") == (1 if sentence else 0)
    assert sentence in stream.getvalue()


def test_the_time_after_the_last_step_is_announced_if_it_is_long(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = Progress("seed 0", stream, Command(2, announce=False))
    progress.plan(steps=100, per_epoch=50)
    progress.expect(TimeEstimate(left=70, epochs=60, end=41))
    progress.epoch(row(50, 1))
    assert "evaluation and audit" not in stream.getvalue()
    progress.epoch(row(100, 2))
    assert "All steps are done; evaluation and audit take about 40 s." in stream.getvalue()


def test_a_display_stops_its_run_when_the_time_is_over(clock: list[float]) -> None:
    progress = Progress("seed 0", io.StringIO(), Command(stop_at=105.0))
    assert progress.stop_reason() is None
    clock[0] = 105.0
    assert progress.stop_reason() == TIME_OVER


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "5 s"), (47, "45 s"), (99, "100 s"), (130, "2 min"), (3590, "1 h"),
     (8300, "2 h 20 min"), (400_000, "111 h")],
)  # fmt: skip
def test_estimated_durations_are_rounded(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
