"""A worker's reporter of a job: it sends the progress to the driver and receives answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from lbench.execute.messages import Epoch, EpochAnswer, Job, Note, Started, StepProgress, Stop
from lbench.rundir import RunDir, without_nan
from lbench.training.cell import Cell
from lbench.training.forecast import TimeEstimate
from lbench.training.reporter import INTERRUPTED

PROGRESS_EVERY = 0.5
"""Seconds between two messages on progress, so that the pipe to a busy driver does not fill."""


@dataclass(frozen=True, slots=True)
class RunLocation:
    """The configuration, directory and attempt of a job's run."""

    cell: Cell
    run_dir: RunDir
    attempt: int


class WorkerReporter:
    """The reporter of a job; a closed connection stops the run like a Stop message.

    Args:
        connection: the connection to the driver.
        job: the job.
    """

    def __init__(self, connection: Connection, job: Job) -> None:
        self.job = job
        self.location: RunLocation | None = None
        self.announced = False
        self._connection = connection
        self._reason: str | None = None
        self._steps = 0
        self._progress_at = 0.0
        self._left: float | None = None

    def announce(self, steps: int, per_epoch: int) -> None:
        """Send that the run's directory has its ``spec.json``."""
        assert self.location is not None
        cell, self.announced = self.location.cell, True
        self._send(
            Started(
                self.job.key,
                cell.fingerprint,
                cell.run_fingerprint(self.job.seed),
                cell.id,
                self.location.attempt,
                self.location.run_dir.path,
                steps,
                per_epoch,
            )
        )

    def history(self, *, over: bool = False) -> None:
        """Send the epoch log to a driver that watches.

        Args:
            over: whether the run has ended: it cannot be pruned any more, and all rows are sent.
        """
        if self.location is None or not self.job.watch:
            return
        for row in self.location.run_dir.epochs():
            if self._reason is None:
                self._send_epoch(row)
            if over and self._reason != INTERRUPTED:
                self._reason = None

    def plan(self, steps: int, per_epoch: int) -> None:
        """Send the length of the run, and the epochs that it has had."""
        self._steps = steps
        self.announce(steps, per_epoch)
        self.history()

    def step(self, done: int, loss: float) -> None:
        """Send the progress, at most once per :data:`PROGRESS_EVERY` seconds."""
        now = time.monotonic()
        if now - self._progress_at >= PROGRESS_EVERY:
            self._progress_at = now
            self._send(StepProgress(self.job.key, done, self._steps, self._left))

    def expect(self, estimate: TimeEstimate) -> None:
        """Keep the estimate for the next message on progress."""
        self._left = estimate.left

    def epoch(self, row: dict[str, Any]) -> None:
        """Send the epoch to a driver that watches, and wait for its answer."""
        if self.job.watch and self._reason is None:
            self._send_epoch(row)

    def stop_reason(self) -> str | None:
        """Return why the run is to stop, by the messages that have arrived; None to continue."""
        try:
            while self._reason is None and self._connection.poll():
                self._receive()
        except OSError:
            self._reason = INTERRUPTED
        return self._reason

    def note(self, text: str) -> None:
        """Send the sentence."""
        self._send(Note(self.job.key, text))

    def close(self) -> None:
        """Do nothing: the connection stays open for the next job."""

    def _send_epoch(self, row: dict[str, Any]) -> None:
        self._send(Epoch(self.job.key, without_nan(row)))
        while self._reason is None:
            message = self._receive()
            if isinstance(message, EpochAnswer):
                self._reason = message.reason
                return

    def _receive(self) -> Any:
        """Return the next message, or None if it was for a job that has ended."""
        try:
            message = self._connection.recv()
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
            self._connection.send(message)
        except OSError:
            self._reason = INTERRUPTED
