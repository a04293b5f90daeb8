"""How a run is followed: one live line on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import Any, TextIO

from lbench.report.terminal import coloured, live


class Progress:
    """Tells standard error about one run at a time.

    Args:
        title: of the run.
        stream: None for standard error.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        self.stream = stream or sys.stderr
        self.live = live(self.stream)
        self._steps: int | None = None
        self._per_epoch = 0
        self._began: tuple[int, float] | None = None
        self._shown = 0.0
        self._val: float | None = None
        self._line = 0

    def plan(self, steps: int, per_epoch: int) -> None:
        """How many steps there are, in all and in an epoch."""
        self._steps, self._per_epoch = steps, per_epoch

    def step(self, done: int, loss: float) -> None:
        """Redraws the live line, a few times a second."""
        now = time.monotonic()
        if self._began is None:
            self._began = done, now
        if not self.live or now - self._shown < 0.2 or not self._steps:
            return
        self._shown = now
        epoch = min(done // self._per_epoch + 1, -(-self._steps // self._per_epoch))
        parts = [
            self.title,
            f"epoch {epoch}/{-(-self._steps // self._per_epoch)}",
            f"{100 * done / self._steps:.0f} %",
            f"loss {loss:.4f}",
        ]
        if self._val is not None:
            parts.append(f"val {self._val:.2f} %")
        if (left := self._left(done, now)) is not None:
            parts.append(f"{duration(left)} left")
        self._write("  ".join(parts))

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch's line where output is not a terminal, at most one a second and the last."""
        self._val = row["val_error"]
        now = time.monotonic()
        if self.live or (now - self._shown < 1 and row["step"] != self._steps):
            return
        self._shown = now
        text = f"{self.title}  epoch {row['epoch']}"
        if self._steps:
            # Epochs of a sequence differ in length, so that there can be one more.
            text += f"/{max(-(-self._steps // self._per_epoch), row['epoch'])}"
        text += f"  loss {row['train_loss']:.4f}"
        if self._val is not None:
            text += f"  val {self._val:.2f} %"
        seconds = row["seconds"]
        text += f"  {duration(sum(seconds.values()))}"
        if (left := self._left(row["step"], now)) is not None:
            text += f"  {duration(left)} left"
        self._say(text + "\n")

    def stop_reason(self) -> str | None:
        """Never: who watches can interrupt."""
        return None

    def show(self, text: str) -> None:
        """Redraw the live line; a plain line where output is not a terminal."""
        text = f"{self.title}  {text}"
        if self.live:
            self._write(text)
        else:
            self._say(f"{text}\n")

    def note(self, text: str) -> None:
        """A sentence that stays."""
        self.close()
        self._say(f"{self.title}  {text}\n")

    def close(self) -> None:
        """Takes the live line away."""
        if self.live and self._line:
            self._say("\r" + " " * self._line + "\r")
            self._line = 0

    def _left(self, done: int, now: float) -> float | None:
        if self._began is None or not self._steps or not self._began[0] < done < self._steps:
            return None
        pace = (now - self._began[1]) / (done - self._began[0])
        return pace * (self._steps - done)

    def _write(self, text: str) -> None:
        text = text[: max(1, shutil.get_terminal_size().columns - 1)]
        self._say("\r" + text.ljust(self._line))
        self._line = len(text)

    def _say(self, text: str) -> None:
        say(text, self.stream)


class Slow:
    """Says on standard error what is being done, once it has taken some seconds.

    A terminal has one live line; elsewhere lines follow each other at growing distances.

    Args:
        title: of what is being done.
        after: seconds in which nothing is said.
        stream: None for standard error.
    """

    def __init__(self, title: str, after: float = 5.0, stream: TextIO | None = None) -> None:
        self._display = Progress(title, stream)
        self._after = after
        self._text = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def show(self, text: str) -> None:
        """Take what is being done now."""
        self._text = text

    def __enter__(self) -> Slow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._display.close()

    def _watch(self) -> None:
        began = time.monotonic()
        wait = self._after
        while not self._done.wait(wait):
            seconds = time.monotonic() - began
            self._display.show(f"{self._text}  {duration(seconds)}")
            wait = 0.5 if self._display.live else max(wait, seconds)


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def say(text: str, stream: TextIO | None = None, *, fg: str | None = None) -> None:
    """Write to standard error at once.

    Args:
        stream: None for standard error.
        fg: the colour of the text, where the stream has colours.
    """
    stream = stream or sys.stderr
    if fg and coloured(stream):
        import click

        text = click.style(text, fg=fg)
    stream.write(text)
    stream.flush()
