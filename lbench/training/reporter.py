"""The interface through which a run reports its progress and is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lbench.training.forecast import TimeEstimate

INTERRUPTED = "interrupted"
"""The reason of a stop by the user, after which the run is to continue later."""
TIME_OVER = "time over"
"""The reason of a stop because the time that the user gave is over."""
CONTINUABLE = (INTERRUPTED, TIME_OVER)
"""The reasons after which the run is to continue later; other reasons are a pruner's."""


class Reporter(Protocol):
    """The receiver of a run's progress."""

    def plan(self, steps: int, per_epoch: int) -> None:
        """Receive the number of steps of the run and of an epoch."""

    def step(self, done: int, loss: float) -> None:
        """Receive the number of steps done so far, and the latest loss."""

    def expect(self, estimate: TimeEstimate) -> None:
        """Receive how long the run takes, before a call of ``step``, as soon as it is known."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Receive the line of the epoch log of an epoch that has ended."""

    def stop_reason(self) -> str | None:
        """Return why the run is to stop; None lets it continue.

        The reason is one of :data:`CONTINUABLE`, or a pruner's sentence. The trainer calls this
        before the first step, at every report of its progress and after every epoch.
        """

    def note(self, text: str) -> None:
        """Receive a sentence that the user should read."""

    def close(self) -> None:
        """Finish: the run has ended."""
