"""How a study is followed: one display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbench.api.progress import duration, say
from lbench.report.terminal import console, live

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

EVERY = 10.0
"""Seconds between two lines where output is no terminal."""
SHOWN = 24
"""Points that the display has room for; the others are counted."""


@dataclass
class Line:
    """A point's progress."""

    trials: tuple[int, int] | None = None
    best: float | None = None
    finals: tuple[int, int] = (0, 0)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        searched = self.trials is None or self.trials[0] >= self.trials[1]
        return searched and self.finals[0] >= self.finals[1]


class StudyProgress:
    """Tells standard error how a study goes on; a context manager.

    Args:
        seconds: the estimate for the whole, for the time left; None without one.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.live = live(sys.stderr)
        self._lines: dict[str, Line] = {}
        self._runs: dict[str, tuple[int, int]] = {}
        self._began = time.monotonic()
        self._done_at_first: int | None = None
        self._seconds = seconds
        self._told = 0.0
        self._display: Live | None = None

    def __enter__(self) -> StudyProgress:
        if self.live:
            from rich.live import Live

            self._display = Live(
                console=console(sys.stderr),
                get_renderable=self._table,
                refresh_per_second=4,
                transient=True,
            )
            self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None:
        """A search has so many trials behind it."""
        line = self._lines.setdefault(key, Line())
        line.trials, line.best = (ended, wanted), best
        self._tell(key)

    def final(self, key: str, ended: int, wanted: int) -> None:
        """A point has so many final runs behind it."""
        self._lines.setdefault(key, Line()).finals = (ended, wanted)
        self._tell(key)

    def run(self, name: str, done: int, steps: int) -> None:
        """A run is at this step."""
        self._begin()
        self._runs[name] = done, steps

    def over(self, name: str) -> None:
        """A run has ended."""
        self._begin()
        self._runs.pop(name, None)

    def note(self, text: str) -> None:
        """A sentence that stays."""
        if self._display is not None:
            self._display.console.print(text, highlight=False, markup=False)
        else:
            say(f"{text}\n")

    def left(self) -> float | None:
        """Seconds that are left at the pace so far; None before anything has ended."""
        done = self._done()
        total = sum(self._behind(line, whole=True) for line in self._lines.values())
        if self._done_at_first is None or done <= self._done_at_first or done >= total:
            return None
        pace = (time.monotonic() - self._began) / (done - self._done_at_first)
        return pace * (total - done)

    def _begin(self) -> None:
        """From here on the pace counts: what was there before is known by now."""
        if self._done_at_first is None:
            self._done_at_first = self._done()

    def _done(self) -> int:
        return sum(self._behind(line) for line in self._lines.values())

    @staticmethod
    def _behind(line: Line, *, whole: bool = False) -> int:
        at = int(whole)
        return (line.trials[at] if line.trials else 0) + line.finals[at]

    def _tell(self, key: str) -> None:
        left = self.left()
        if self._display is not None:
            return
        line, now = self._lines[key], time.monotonic()
        if now - self._told < EVERY and not (line.over and self._behind(line)):
            return
        self._told = now
        text = "  ".join(self._words(key, line))
        say(f"{text}{f'  {duration(left)} left' if left else ''}\n")

    @staticmethod
    def _words(key: str, line: Line) -> list[str]:
        words = [key]
        if line.trials is not None:
            words.append(f"trial {line.trials[0]}/{line.trials[1]}")
            words.append("best —" if line.best is None else f"best {line.best:.2f}")
        if line.trials is None or line.trials[0] >= line.trials[1]:
            words.append(f"final {line.finals[0]}/{line.finals[1]}")
        return words

    def _table(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        open_lines = [(key, line) for key, line in self._lines.items() if not line.over]
        for key, line in open_lines[:SHOWN]:
            table.add_row(*self._words(key, line))
        if len(open_lines) > SHOWN:
            table.add_row(f"and {len(open_lines) - SHOWN} more points")
        for name, (done, steps) in self._runs.items():
            table.add_row(f"  {name}", f"{100 * done / steps:.0f} %" if steps else "")
        over = len(self._lines) - len(open_lines)
        left = self.left()
        if left is None and self._seconds is not None and not over:
            left = self._seconds
        summary = f"{over} of {len(self._lines)} points done"
        table.add_row(summary, f"{duration(left)} left" if left else "")
        return table


class SilentProgress:
    """A display that shows nothing; a context manager."""

    def __enter__(self) -> SilentProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None:
        """Show nothing."""

    def final(self, key: str, ended: int, wanted: int) -> None:
        """Show nothing."""

    def run(self, name: str, done: int, steps: int) -> None:
        """Show nothing."""

    def over(self, name: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
