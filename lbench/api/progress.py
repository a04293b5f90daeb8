"""Progress of a run on standard error: a live line on a terminal, else a line per epoch."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import Any, TextIO

from lbench.output.terminal import coloured, live


class Progress:
    """The display of one run's progress.

    Args:
        title: title of the run.
        stream: where the progress is written; None for standard error.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        self.stream = stream or sys.stderr
        self.live = live(self.stream)
        self._steps: int | None = None
        self._per_epoch = 0
        self._began: tuple[int, float] | None = None
        self._shown_at = 0.0
        self._val_error: float | None = None
        self._line_length = 0

    def plan(self, steps: int, per_epoch: int) -> None:
        """Receive the number of steps of the run and of an epoch."""
        self._steps, self._per_epoch = steps, per_epoch

    def step(self, done: int, loss: float) -> None:
        """Redraw the live line, at most five times per second."""
        now = time.monotonic()
        if self._began is None:
            self._began = done, now
        if not self.live or now - self._shown_at < 0.2 or not self._steps:
            return
        self._shown_at = now
        epoch = min(done // self._per_epoch + 1, -(-self._steps // self._per_epoch))
        parts = [
            self.title,
            f"epoch {epoch}/{-(-self._steps // self._per_epoch)}",
            f"{100 * done / self._steps:.0f} %",
            f"loss {loss:.4f}",
        ]
        if self._val_error is not None:
            parts.append(f"val error {self._val_error:.2f} %")
        if (left := self._left(done, now)) is not None:
            parts.append(f"{duration(left)} left")
        self._write("  ".join(parts))

    def epoch(self, row: dict[str, Any]) -> None:
        """Write a line for an epoch if the stream is not a terminal.

        There is at most one line per second, and one for the last epoch.
        """
        self._val_error = row["val_error"]
        now = time.monotonic()
        if self.live or (now - self._shown_at < 1 and row["step"] != self._steps):
            return
        self._shown_at = now
        text = f"{self.title}  epoch {row['epoch']}"
        if self._steps:
            # Epochs of a sequence differ in length, so that one more is possible.
            text += f"/{max(-(-self._steps // self._per_epoch), row['epoch'])}"
        text += f"  loss {row['train_loss']:.4f}"
        if self._val_error is not None:
            text += f"  val error {self._val_error:.2f} %"
        seconds = row["seconds"]
        text += f"  {duration(sum(seconds.values()))}"
        if (left := self._left(row["step"], now)) is not None:
            text += f"  {duration(left)} left"
        self._say(text + "\n")

    def stop_reason(self) -> str | None:
        """Return None: a display never stops a run."""
        return None

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

    def _left(self, done: int, now: float) -> float | None:
        if self._began is None or not self._steps or not self._began[0] < done < self._steps:
            return None
        seconds_per_step = (now - self._began[1]) / (done - self._began[0])
        return seconds_per_step * (self._steps - done)

    def _write(self, text: str) -> None:
        text = text[: max(1, shutil.get_terminal_size().columns - 1)]
        self._say("\r" + text.ljust(self._line_length))
        self._line_length = len(text)

    def _say(self, text: str) -> None:
        say(text, self.stream)


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
