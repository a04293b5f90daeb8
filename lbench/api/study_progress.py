"""Progress of a study on standard error: a live table on a terminal, else a line at intervals."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbench.api.progress import LINE_INTERVAL, duration, line_interval, say
from lbench.output.terminal import console, live

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

SHOWN_POINTS = 24
"""Number of points that the live table shows; it counts the others."""


@dataclass
class PointProgress:
    """The progress of a point.

    Args:
        trials: ended and requested trials; None without a search.
        best: lowest value of the first objective so far; None before a trial is complete.
        finals: ended and requested final runs.
    """

    trials: tuple[int, int] | None = None
    best: float | None = None
    finals: tuple[int, int] = (0, 0)

    @property
    def complete(self) -> bool:
        """Return whether nothing is left to do."""
        searched = self.trials is None or self.trials[0] >= self.trials[1]
        return searched and self.finals[0] >= self.finals[1]


class StudyProgress:
    """The display of a study's progress, a context manager.

    Args:
        seconds: estimated time of the whole study, shown until a point has ended; None if unknown.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.live = live(sys.stderr)
        self._points: dict[str, PointProgress] = {}
        self._runs: dict[str, str] = {}
        self._began = time.monotonic()
        self._done_before: int | None = None
        self._seconds = seconds
        self._shown_at = 0.0
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
        """Receive the numbers of ended and requested trials of a point, and its best value."""
        point = self._points.setdefault(key, PointProgress())
        point.trials, point.best = (ended, wanted), best
        self._write_line(key)

    def final(self, key: str, ended: int, wanted: int) -> None:
        """Receive the numbers of ended and requested final runs of a point."""
        self._points.setdefault(key, PointProgress()).finals = (ended, wanted)
        self._write_line(key)

    def run(self, name: str, done: int, steps: int, left: float | None = None) -> None:
        """Receive the steps that a run has made, all its steps, and its seconds that are left."""
        self._begin()
        share = f"{100 * done / steps:.0f} %" if steps else ""
        self._runs[name] = share if left is None else f"{share}  {duration(left)} left"
        now = time.monotonic()
        since = now - max(self._shown_at, self._began)
        if self._display is None and since >= line_interval(now - self._began):
            self._shown_at = now
            others = len(self._runs) - 1
            say(f"{name}  {self._runs[name]}{f'  and {others} more running' if others else ''}\n")

    def over(self, name: str) -> None:
        """Receive that a run has ended."""
        self._begin()
        self._runs.pop(name, None)

    def note(self, text: str) -> None:
        """Write a sentence that stays on the screen."""
        if self._display is not None:
            self._display.console.print(text, highlight=False, markup=False)
        else:
            say(f"{text}\n")

    def left(self) -> float | None:
        """Return the seconds left at the rate so far; None before a run of this process ended."""
        done = self._done()
        total = sum(self._runs_of(point, ended=False) for point in self._points.values())
        if self._done_before is None or done <= self._done_before or done >= total:
            return None
        seconds_per_run = (time.monotonic() - self._began) / (done - self._done_before)
        return seconds_per_run * (total - done)

    def _begin(self) -> None:
        """Store how many runs had ended before this process, when its first run reports."""
        if self._done_before is None:
            self._done_before = self._done()

    def _done(self) -> int:
        return sum(self._runs_of(point, ended=True) for point in self._points.values())

    @staticmethod
    def _runs_of(point: PointProgress, *, ended: bool) -> int:
        """Return the number of ended trials and final runs of a point, or of all of them."""
        index = 0 if ended else 1
        return (point.trials[index] if point.trials else 0) + point.finals[index]

    def _write_line(self, key: str) -> None:
        """Write the line of a point, unless the previous line is too recent."""
        left = self.left()
        if self._display is not None:
            return
        point, now = self._points[key], time.monotonic()
        has_ended = point.complete and self._runs_of(point, ended=True)
        if now - self._shown_at < LINE_INTERVAL and not has_ended:
            return
        self._shown_at = now
        text = "  ".join(self._columns(key, point))
        say(f"{text}{f'  {duration(left)} left' if left else ''}\n")

    @staticmethod
    def _columns(key: str, point: PointProgress) -> list[str]:
        columns = [key]
        if point.trials is not None:
            columns.append(f"trial {point.trials[0]}/{point.trials[1]}")
            columns.append("best —" if point.best is None else f"best {point.best:.2f}")
        if point.trials is None or point.trials[0] >= point.trials[1]:
            columns.append(f"final run {point.finals[0]}/{point.finals[1]}")
        return columns

    def _table(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        incomplete = [(key, point) for key, point in self._points.items() if not point.complete]
        for key, point in incomplete[:SHOWN_POINTS]:
            table.add_row(*self._columns(key, point))
        if len(incomplete) > SHOWN_POINTS:
            table.add_row(f"and {len(incomplete) - SHOWN_POINTS} more points")
        for name, progress in self._runs.items():
            table.add_row(f"  {name}", progress)
        complete = len(self._points) - len(incomplete)
        left = self.left()
        if left is None and self._seconds is not None and not complete:
            left = max(0.0, self._seconds - (time.monotonic() - self._began))
        summary = f"{complete} of {len(self._points)} points complete"
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

    def run(self, name: str, done: int, steps: int, left: float | None = None) -> None:
        """Show nothing."""

    def over(self, name: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
