"""The interface through which a run reports its progress and is stopped."""

from __future__ import annotations

from typing import Any, Protocol

INTERRUPTED = "interrupted"
"""The reason of a stop after which the run is to continue later; other reasons are a pruner's."""


class Reporter(Protocol):
    """The receiver of a run's progress."""

    def plan(self, steps: int, per_epoch: int) -> None:
        """Receive the number of steps of the run and of an epoch."""

    def step(self, done: int, loss: float) -> None:
        """Receive the number of steps done so far, and the latest loss."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Receive the line of the epoch log of an epoch that has ended."""

    def stop_reason(self) -> str | None:
        """Return why the run is to stop; None lets it continue.

        The reason is :data:`INTERRUPTED` or a pruner's sentence. The trainer calls this before the
        first step, at every check (:data:`lbench.training.trainer.CHECK_EVERY`) and after every
        epoch.
        """

    def note(self, text: str) -> None:
        """Receive a sentence that the user should read."""

    def close(self) -> None:
        """Finish: the run has ended."""
