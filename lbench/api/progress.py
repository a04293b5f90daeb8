"""Progress of a run on standard error: a live line on a terminal, else lines at intervals."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from lbench.output.terminal import coloured, live
from lbench.training.reporter import TIME_OVER

if TYPE_CHECKING:
    from lbench.training.forecast import TimeEstimate

LINE_INTERVAL = 10.0
"""Seconds between two lines if the stream is not a terminal; more when much time has passed."""
LONGEST_INTERVAL = 300.0
"""Largest number of seconds between two such lines."""
LONG = 30.0
"""Estimated seconds from which on a sentence says how long it takes."""
VERY_LONG = 600.0
"""Estimated seconds from which on the sentence says what fewer epochs take."""
LONG_END = 10.0
"""Estimated seconds of evaluation and audit from which on a sentence announces them."""


def line_interval(seconds: float) -> float:
    """Return the seconds until the next line when a task has taken that number of seconds."""
    return min(LONGEST_INTERVAL, max(LINE_INTERVAL, seconds / 20))


@dataclass(frozen=True)
class Command:
    """The runs of a command, of which a display shows one.

    Args:
        epochs: budget of each run in epochs; None for another budget.
        later: number of runs behind this one that are still to be trained.
        stop_at: monotonic time after which the runs stop; None for no limit.
        announce: whether the display says how long the command takes.
    """

    epochs: int | None = None
    later: int = 0
    stop_at: float | None = None
    announce: bool = True


class Progress:
    """The display of one run's progress.

    Args:
        title: title of the run.
        stream: where the progress is written; None for standard error.
        command: the command's runs; None to announce no duration.
    """

    def __init__(
        self, title: str, stream: TextIO | None = None, command: Command | None = None
    ) -> None:
        self.title = title
        self.command = command
        self.stream = stream or sys.stderr
        self.live = live(self.stream)
        self.steps: int | None = None
        self._per_epoch = 0
        self._began = self._shown_at = time.monotonic()
        self._estimate: tuple[TimeEstimate, float] | None = None
        self._val_error: float | None = None
        self._line_length = 0

    def plan(self, steps: int, per_epoch: int) -> None:
        """Receive the number of steps of the run and of an epoch."""
        self.steps, self._per_epoch = steps, per_epoch

    def step(self, done: int, loss: float) -> None:
        """Show the progress: on a terminal at most five times per second, else at intervals."""
        now = time.monotonic()
        interval = 0.2 if self.live else line_interval(now - self._began)
        if now - self._shown_at < interval or not self.steps:
            return
        self._shown_at = now
        epoch = min(done // self._per_epoch + 1, -(-self.steps // self._per_epoch))
        parts = [
            self.title,
            f"epoch {epoch}/{-(-self.steps // self._per_epoch)}",
            f"{100 * done / self.steps:.0f} %",
            f"loss {loss:.4f}",
        ]
        if self._val_error is not None:
            parts.append(f"val error {self._val_error:.2f} %")
        if (left := self._left(now)) is not None:
            parts.append(f"{duration(left)} left")
        if self.live:
            self._write("  ".join(parts))
        else:
            self._say("  ".join(parts) + "\n")

    def expect(self, estimate: TimeEstimate) -> None:
        """Receive how long the run takes; the first time, say so if it takes long."""
        first = self._estimate is None
        self._estimate = estimate, time.monotonic()
        if first and self.command is not None and self.command.announce:
            seconds = estimate.left + self.command.later * estimate.whole
            if seconds >= LONG:
                self.note(_announcement(estimate, self.command))

    def epoch(self, row: dict[str, Any]) -> None:
        """Write a line for an epoch if the stream is not a terminal.

        There is at most one line per second, and one for the last epoch.
        """
        self._val_error = row["val_error"]
        now, last = time.monotonic(), row["step"] == self.steps
        if not self.live and (last or now - self._shown_at >= 1):
            self._write_epoch(row, now)
        if last and self._estimate is not None and self._estimate[0].end >= LONG_END:
            end = about(self._estimate[0].end)
            self.note(f"All steps are done; evaluation and audit take about {end}.")

    def _write_epoch(self, row: dict[str, Any], now: float) -> None:
        self._shown_at = now
        text = f"{self.title}  epoch {row['epoch']}"
        if self.steps:
            # Epochs of a sequence differ in length, so that one more is possible.
            text += f"/{max(-(-self.steps // self._per_epoch), row['epoch'])}"
        text += f"  loss {row['train_loss']:.4f}"
        if self._val_error is not None:
            text += f"  val error {self._val_error:.2f} %"
        seconds = row["seconds"]
        text += f"  {duration(sum(seconds.values()))}"
        if row["step"] != self.steps and (left := self._left(now)) is not None:
            text += f"  {duration(left)} left"
        self._say(text + "\n")

    def stop_reason(self) -> str | None:
        """Return that the time is over, if the command has a limit."""
        stop_at = None if self.command is None else self.command.stop_at
        return TIME_OVER if stop_at is not None and time.monotonic() >= stop_at else None

    def show(self, text: str) -> None:
        """Redraw the live line; a plain line where output is not a terminal."""
        text = f"{self.title}  {text}"
        if self.live:
            self._write(text)
        else:
            self._say(f"{text}\n")

    def note(self, text: str) -> None:
        """Write a sentence that stays on the screen."""
        self.close()
        self._say(f"{self.title}  {text}\n")

    def close(self) -> None:
        """Erase the live line."""
        if self.live and self._line_length:
            self._say("\r" + " " * self._line_length + "\r")
            self._line_length = 0

    def _left(self, now: float) -> float | None:
        if self._estimate is None:
            return None
        estimate, at = self._estimate
        return max(0.0, estimate.left - (now - at))

    def _write(self, text: str) -> None:
        text = text[: max(1, shutil.get_terminal_size().columns - 1)]
        self._say("\r" + text.ljust(self._line_length))
        self._line_length = len(text)

    def _say(self, text: str) -> None:
        say(text, self.stream)


def _announcement(estimate: TimeEstimate, command: Command) -> str:
    """Return the sentence that says how long the runs of a command take."""
    runs, whole = 1 + command.later, estimate.whole
    seconds = estimate.left + command.later * whole
    begun = estimate.left < 0.9 * whole
    parts = [f"{'The rest' if begun else 'This'} takes about {about(seconds)}"]
    if command.later:
        parts[0] += f" for {runs} seeds, {about(whole)} per seed"
    if not begun and seconds >= VERY_LONG and (command.epochs or 0) > 1:
        epochs = max(1, (command.epochs or 0) // 10)
        fewer = runs * (estimate.epochs * epochs / (command.epochs or 1) + estimate.end)
        parts.append(f"--epochs {epochs} takes {about(fewer)}")
    return "; ".join([*parts, "Ctrl-C keeps a checkpoint."])


class DelayedProgress:
    """The display of a task that usually is quick: it appears if the task takes several seconds.

    A terminal has one live line; any other stream has lines at growing intervals.

    Args:
        title: title of the task.
        after: seconds before the first line.
        stream: where the progress is written; None for standard error.
    """

    def __init__(self, title: str, after: float = 5.0, stream: TextIO | None = None) -> None:
        self._display = Progress(title, stream)
        self._after = after
        self._text = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, daemon=True)

    def show(self, text: str) -> None:
        """Set the text that the display shows."""
        self._text = text

    def __enter__(self) -> DelayedProgress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._display.close()

    def _write_lines(self) -> None:
        began = time.monotonic()
        wait = self._after
        while not self._done.wait(wait):
            seconds = time.monotonic() - began
            self._display.show(f"{self._text}  {duration(seconds)}")
            wait = 0.5 if self._display.live else max(wait, seconds)


def duration(seconds: float) -> str:
    """Return seconds as text: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """Return roughly estimated seconds as text: ``45 s``, ``14 min``, ``2 h 20 min``."""
    if seconds < 100:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    minutes = 5 * round(minutes / 5)
    exact = minutes % 60 and minutes < 6000
    return f"{minutes // 60} h {minutes % 60:02d} min" if exact else f"{minutes // 60} h"


class Notifier:
    """A function that writes sentences to standard error, or nothing if ``shown`` is false."""

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown

    def __call__(self, text: str, *, fg: str | None = None) -> None:
        """Write a sentence, in a colour if one is given."""
        if self.shown:
            say(f"{text}\n", fg=fg)


def say(text: str, stream: TextIO | None = None, *, fg: str | None = None) -> None:
    """Write to standard error, and flush it.

    Args:
        text: the text.
        stream: another stream in place of standard error.
        fg: colour of the text, if the stream has colours.
    """
    stream = stream or sys.stderr
    if fg and coloured(stream):
        import click

        text = click.style(text, fg=fg)
    stream.write(text)
    stream.flush()
