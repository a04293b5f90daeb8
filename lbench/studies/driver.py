"""Driver of a study: takes the lock, writes the plan and starts the worker processes."""

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
from lbench.rundir import exclusive
from lbench.store.memberships import Memberships
from lbench.studies.ledger import search_names, write_ledger
from lbench.studies.missing_files import missing_searches
from lbench.studies.runner import Display, Ending, Runner
from lbench.studies.storage import has_storage, storage, storage_errors
from lbench.studies.study_plan import StudyPlan
from lbench.threads import cores

MOST_WORKERS = 16
"""Default limit on a CPU: each worker process has its own interpreter and copy of the data."""


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
    checkpoint_every: float | None = None,
    fresh: bool = False,
    loader_workers: int | None = None,
) -> Ending:
    """Run the trials and final runs of a plan that have not ended yet.

    Args:
        plan: the plan.
        home: home directory.
        registry: installed rules, networks, datasets and probes.
        writer: writer of the store; None for none.
        display: receives the progress.
        command: command line of the user, which reports print.
        devices: one device per worker process, see :func:`worker_devices`.
        threads: CPU threads per worker process; None for a number that suits each network, within
            the worker process's share of the cores.
        data_dir: data directory that is searched first.
        plugin_files: plugin files that the worker processes load.
        timeout: seconds after which the study stops; None for no limit.
        checkpoint_every: seconds between two checkpoints of a run; None for as many as cost
            little.
        fresh: whether each run has a new process. A search that minimises peak memory on a CPU
            always has new processes.
        loader_workers: processes per run that decode streamed images; None for one per core of
            the worker process.

    Raises:
        LockedError: another process runs this study.
        StoreError: Optuna's storage cannot be used; running jobs write checkpoints first.
        LbenchError: the disk is full or data is missing; running jobs write checkpoints first.
    """
    doing = f"running study {plan.study.name}"
    guarded = storage_errors(home) if plan.study.search else nullcontext()
    with exclusive(home.studies / plan.study.name, doing), guarded:
        _note_missing_searches(plan, home, display)
        runner = Runner(plan, home, registry, writer, display, data_dir=data_dir)
        write_ledger(home, plan, command)
        pool = Pool(
            home,
            devices,
            threads=threads,
            cores=cores_per_worker(len(devices)),
            checkpoint_every=checkpoint_every,
            plugin_files=plugin_files,
            fresh=fresh or _needs_fresh_processes(plan, devices),
            loader_workers=loader_workers,
        )
        with pool, _stopping(runner):
            return runner.run(pool, timeout=timeout)


def _note_missing_searches(plan: StudyPlan, home: Home, display: Display) -> None:
    optuna_storage = storage(home) if plan.study.search and has_storage(home) else None
    memberships = Memberships(home, plan.study.name)
    if memberships.skipped:
        display.note(memberships.skipped)
    for sentence in missing_searches(home, search_names(plan), optuna_storage, memberships.read()):
        display.note(f"{sentence} It begins anew; finished runs are not repeated.")


def _needs_fresh_processes(plan: StudyPlan, devices: Sequence[str]) -> bool:
    """Return whether an objective depends on earlier runs in the same process: its peak memory."""
    search = plan.study.search
    return search is not None and "peak_memory" in search.objectives and "cpu" in devices


def worker_devices(workers: int | None, device: str = "auto") -> list[str]:
    """Return one device per worker process: the GPUs in turn if there are any, else the CPU.

    Args:
        workers: number of worker processes; None for one per GPU, or one per core.
        device: ``auto``, ``cpu``, or a device that all worker processes share.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device != "auto":
        return [device] * (workers or (1 if device != "cpu" else _cores()))
    if gpus:
        return [f"cuda:{index % gpus}" for index in range(workers or gpus)]
    return ["cpu"] * (workers or _cores())


def cores_per_worker(workers: int) -> int:
    """Return the number of cores per worker process, at least one."""
    return max(1, cores() // workers)


def _cores() -> int:
    return min(cores(), MOST_WORKERS)


@contextmanager
def _stopping(runner: Runner) -> Iterator[None]:
    """Handle interrupts: at the first, running jobs write checkpoints; the second ends at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if runner.stop == "interrupted":
            raise KeyboardInterrupt
        runner.stop = "interrupted"
        runner.display.note("Stopping: runs write their checkpoints. Interrupt again to end now.")

    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
