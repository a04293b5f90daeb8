"""What driver and workers tell each other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.run.resolve import Request


@dataclass(frozen=True, slots=True)
class Job:
    """One run that a worker is asked for.

    Args:
        key: by which the driver knows it; no two jobs at a time have the same.
        request: what is trained.
        seed: of the run.
        probes: names of probes that look at it.
        trial: of a search: the test set is not read, and validation logits are kept.
        watch: whether each epoch waits for the driver's answer, so that it can prune.
    """

    key: Hashable
    request: Request
    seed: int
    probes: tuple[str, ...] = ()
    trial: bool = False
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A run's directory has its ``spec.json``; told once, or again after a worker's death.

    Args:
        key: of the job.
        cell: fingerprint of the cell.
        run: fingerprint of the run.
        cell_id: readable.
        attempt: its number.
        run_dir: its directory.
        steps: of the whole run.
        per_epoch: steps of an epoch.
    """

    key: Hashable
    cell: str
    run: str
    cell_id: str
    attempt: int
    run_dir: Path
    steps: int
    per_epoch: int


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of a run's ``steps`` are behind it; told twice a second at most."""

    key: Hashable
    done: int
    steps: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of a watched run, which waits until ``Pool.answer`` is called.

    When a run goes on, or is there already, its journal's lines are told first, in their order.

    Args:
        key: of the job.
        row: the line of the journal.
    """

    key: Hashable
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know."""

    key: Hashable
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has ended; the last that is told of it.

    Args:
        key: of the job.
        status: ``finished``, ``diverged``, ``failed``, ``pruned``, or ``killed``: it was stopped,
            or its worker died, and the same job goes on from the checkpoint.
        result: as in ``result.json``.
        run_dir: None when it did not come to have one.
        cached: it had ended before, and nothing was done now.
        attempt: its number; None without a directory.
        kind: of the :class:`lbench.errors.LbenchError` for which it failed, or
            :data:`lbench.errors.SYSTEM`; None for none.
    """

    key: Hashable
    status: str
    result: dict[str, Any]
    run_dir: Path | None
    cached: bool
    attempt: int | None
    kind: str | None = None


Event = Started | Progress | Epoch | Note | Ended
"""What ``Pool.events`` tells."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To an Epoch: None for going on, or why the run is pruned."""

    key: Hashable
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Asks for a checkpoint and an end of a job."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Over:
    """A worker is done with a job.

    Args:
        ended: how.
        memory_mib: resident in the worker now; None where unknown.
    """

    ended: Ended
    memory_mib: float | None
