"""A worker's side of the line: what it tells the driver of a job, and what it hears."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from lbench.execute.messages import Answer, Epoch, Job, Note, Progress, Started, Stop
from lbench.run.cell import Cell
from lbench.run.trainer import INTERRUPTED
from lbench.rundir import RunDir, without_nan

EVERY = 0.5
"""Seconds between two words on progress: a driver that is busy must not fill the line."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the run of a job lies."""

    cell: Cell
    run_dir: RunDir
    attempt: int


class Talk:
    """The reporter of a job. A driver that has hung up is as good as one that asks to stop.

    Args:
        line: to the driver.
        job: what is done.
    """

    def __init__(self, line: Connection, job: Job) -> None:
        self.job = job
        self.place: Place | None = None
        self.announced = False
        self._line = line
        self._reason: str | None = None
        self._steps = 0
        self._told = 0.0

    def announce(self, steps: int, per_epoch: int) -> None:
        """Tells the driver that there is something in the run's directory."""
        assert self.place is not None
        cell, self.announced = self.place.cell, True
        self._send(
            Started(
                self.job.key,
                cell.fingerprint,
                cell.run_fingerprint(self.job.seed),
                cell.id,
                self.place.attempt,
                self.place.run_dir.path,
                steps,
                per_epoch,
            )
        )

    def history(self, *, over: bool = False) -> None:
        """Tells a driver that watches what the journal has.

        Args:
            over: the run has ended: nothing is left to prune, and all is told.
        """
        if self.place is None or not self.job.watch:
            return
        for row in self.place.run_dir.epochs():
            if self._reason is None:
                self._tell(row)
            if over and self._reason != INTERRUPTED:
                self._reason = None

    def plan(self, steps: int, per_epoch: int) -> None:
        """Tells how long the run is, and what lies behind it."""
        self._steps = steps
        self.announce(steps, per_epoch)
        self.history()

    def step(self, done: int, loss: float) -> None:
        """Tells how far it is, now and then."""
        now = time.monotonic()
        if now - self._told >= EVERY:
            self._told = now
            self._send(Progress(self.job.key, done, self._steps))

    def epoch(self, row: dict[str, Any]) -> None:
        """Tells a driver that watches, and waits for its answer."""
        if self.job.watch and self._reason is None:
            self._tell(row)

    def asked(self) -> str | None:
        """What has been heard meanwhile."""
        try:
            while self._reason is None and self._line.poll():
                self._hear()
        except OSError:
            self._reason = INTERRUPTED
        return self._reason

    def note(self, text: str) -> None:
        """Passes it on."""
        self._send(Note(self.job.key, text))

    def close(self) -> None:
        """Nothing is open."""

    def _tell(self, row: dict[str, Any]) -> None:
        self._send(Epoch(self.job.key, without_nan(row)))
        while self._reason is None:
            message = self._hear()
            if isinstance(message, Answer):
                self._reason = message.reason
                return

    def _hear(self) -> Any:
        """The next message for this job; others are of jobs that have ended."""
        try:
            message = self._line.recv()
        except (EOFError, OSError):
            self._reason = INTERRUPTED
            return None
        if getattr(message, "key", None) != self.job.key:
            return None
        if isinstance(message, Stop):
            self._reason = INTERRUPTED
        return message

    def _send(self, message: Any) -> None:
        try:
            self._line.send(message)
        except OSError:
            self._reason = INTERRUPTED
