"""Runs a study from beginning to end: lock, ledger, workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch

from lbench.execute.pool import Pool
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.registry import Registry
from lbench.rundir import alone
from lbench.store.journal import Journal
from lbench.study.ledger import search_names, write_ledger
from lbench.study.missing_files import missing_searches
from lbench.study.runner import Display, Ending, Runner
from lbench.study.storage import has_storage, reaching, storage
from lbench.study.study_plan import StudyPlan
from lbench.threads import cores

MOST_WORKERS = 16
"""On a CPU, without being asked for more: each has a Python and a copy of the data."""


def drive(
    plan: StudyPlan,
    home: Home,
    registry: Registry,
    writer: Writer | None,
    display: Display,
    *,
    command: str,
    devices: Sequence[str],
    threads: int | None = None,
    data_dir: Path | None = None,
    plugin_files: Sequence[Path] = (),
    timeout: float | None = None,
    checkpoint_every: float = 30.0,
    fresh: bool = False,
) -> Ending:
    """Runs what is left to do of a plan.

    Args:
        command: what the user typed; the report prints it.
        devices: a device a worker, see :func:`worker_devices`.
        threads: per worker on the CPU; None for as many as pay for each network, within the
            worker's share of the cores.
        timeout: seconds.
        fresh: a process a run; a search for little peak memory on a CPU has them anyway.

    Raises:
        LockedError: another process runs this study.
        StoreError: Optuna's storage cannot be used; running jobs write checkpoints.
        LbenchError: the disk is full, or data has gone; likewise.
    """
    doing = f"running study {plan.study.name}"
    guarded = reaching(home) if plan.study.search else nullcontext()
    with alone(home.studies / plan.study.name, doing), guarded:
        _say_gone(plan, home, display)
        runner = Runner(plan, home, registry, writer, display, data_dir=data_dir)
        write_ledger(home, plan, command)
        pool = Pool(
            home,
            devices,
            threads=threads,
            cores=cores_per_worker(len(devices)),
            checkpoint_every=checkpoint_every,
            plugin_files=plugin_files,
            fresh=fresh or _remembers(plan, devices),
        )
        with pool, _stopping(runner):
            return runner.run(pool, timeout=timeout)


def _say_gone(plan: StudyPlan, home: Home, display: Display) -> None:
    found = storage(home) if plan.study.search and has_storage(home) else None
    journal = Journal(home, plan.study.name)
    if journal.skipped:
        display.note(journal.skipped)
    for sentence in missing_searches(home, search_names(plan), found, journal.read()):
        display.note(f"{sentence} It begins anew; what was trained is not trained again.")


def _remembers(plan: StudyPlan, devices: Sequence[str]) -> bool:
    """Whether what is minimised depends on what a warm worker did before: a process's peak."""
    search = plan.study.search
    return search is not None and "peak_memory" in search.objectives and "cpu" in devices


def worker_devices(workers: int | None, device: str = "auto") -> list[str]:
    """A device for each worker: the GPUs in turn where there are any, else the CPU.

    Args:
        workers: how many; None for one a GPU, or one a core.
        device: ``auto``, ``cpu``, or a device that all share.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device != "auto":
        return [device] * (workers or (1 if device != "cpu" else _cores()))
    if gpus:
        return [f"cuda:{index % gpus}" for index in range(workers or gpus)]
    return ["cpu"] * (workers or _cores())


def cores_per_worker(workers: int) -> int:
    """Return how many cores each worker has to itself, at least one."""
    return max(1, cores() // workers)


def _cores() -> int:
    return min(cores(), MOST_WORKERS)


@contextmanager
def _stopping(runner: Runner) -> Iterator[None]:
    """The first interrupt lets running jobs write checkpoints; a second ends at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if runner.stop == "interrupted":
            raise KeyboardInterrupt
        runner.stop = "interrupted"
        runner.display.note("Stopping: runs write their checkpoints. Interrupt again to end now.")

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
