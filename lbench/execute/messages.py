"""The messages between the driver and its worker processes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.training.resolve import Request


@dataclass(frozen=True, slots=True)
class Job:
    """One run for a worker.

    Args:
        key: identifies the job for the driver; no two jobs at a time have the same.
        request: settings of the run.
        seed: seed of the run.
        probes: names of the probes of the run.
        trial: whether the run is a trial of a search: the test set is then not read, and
            validation logits are saved.
        watch: whether each epoch waits for the driver's answer, so that the driver can prune.
    """

    key: Hashable
    request: Request
    seed: int
    probes: tuple[str, ...] = ()
    trial: bool = False
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A run's directory has its ``spec.json``; sent once, and again after a worker's death.

    Args:
        key: key of the job.
        cell: fingerprint of the configuration.
        run: fingerprint of the run.
        cell_id: readable id of the configuration.
        attempt: number of the attempt.
        run_dir: directory of the run.
        steps: steps of the whole run.
        per_epoch: steps per epoch.
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
class StepProgress:
    """``done`` of a run's ``steps`` have been made; sent twice per second at most.

    Args:
        key: key of the job.
        done: steps that have been made.
        steps: steps of the whole run.
        left: estimated seconds of the rest of the run; None while they are unknown.
    """

    key: Hashable
    done: int
    steps: int
    left: float | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of a watched run, which waits until ``Pool.answer`` is called.

    When a run continues or has ended before, the lines of its epoch log are sent first, in order.

    Args:
        key: key of the job.
        row: the line of the epoch log.
    """

    key: Hashable
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence that the user should read."""

    key: Hashable
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has ended; the last event of the job.

    Args:
        key: key of the job.
        status: ``finished``, ``diverged``, ``failed``, ``pruned``, or ``killed``: the job was
            stopped, or its worker died, and the same job would continue from the checkpoint.
        result: content of ``result.json``.
        run_dir: directory of the run; None if the job ended before it had one.
        cached: whether the run had ended before, so that nothing was done.
        attempt: number of the attempt; None without a directory.
        kind: kind of the :class:`lbench.errors.LbenchError` that ended the job, or
            :data:`lbench.errors.SYSTEM`; None without such an error.
    """

    key: Hashable
    status: str
    result: dict[str, Any]
    run_dir: Path | None
    cached: bool
    attempt: int | None
    kind: str | None = None


Event = Started | StepProgress | Epoch | Note | Ended
"""The events that ``Pool.events`` returns."""


@dataclass(frozen=True, slots=True)
class EpochAnswer:
    """The driver's answer to an Epoch: why the run is pruned, or None to continue."""

    key: Hashable
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The driver's request to write a checkpoint and end a job."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class JobDone:
    """A worker has no job any more.

    Args:
        ended: the end of its job.
        memory_mib: MiB that are resident in the worker now; None if unknown.
    """

    ended: Ended
    memory_mib: float | None
