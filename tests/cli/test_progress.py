"""Tests of the progress of a run."""

from __future__ import annotations

import io
from typing import Any

import pytest

from lbench.api.progress import Progress, duration


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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
