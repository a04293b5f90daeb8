"""A warm worker: a process that does one job after the other and ends after its driver."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lbench.containment import contained
from lbench.errors import SYSTEM, LbenchError, LockedError, refused
from lbench.execute.attempt import AttemptResult, carry_out, locate
from lbench.execute.messages import Ended, Job, JobDone
from lbench.execute.worker_reporter import RunLocation, WorkerReporter
from lbench.home import Home
from lbench.registry import registry
from lbench.training import plugin_errors
from lbench.training.device import pick
from lbench.training.job import Machine
from lbench.training.memory import resident_mib
from lbench.training.reporter import INTERRUPTED
from lbench.training.resolve import resolve
from lbench.training.results import empty_result

PAUSE = 0.2
"""Seconds between two tries at a run that another process has locked."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that all jobs of a worker have in common.

    Args:
        home: home of the runs.
        device: name of the device.
        threads: threads of PyTorch on the CPU; None chooses the number by each network's size.
        cores: cores that a job may use if ``threads`` is None.
        checkpoint_every: seconds between checkpoints; None for as many as cost little.
        plugin_files: plugins that are not installed.
        patience: seconds to wait for a run that another process has locked.
        loader_workers: processes per job that decode streamed images; None for one per core.
    """

    home: Home
    device: str
    threads: int | None
    cores: int
    checkpoint_every: float | None
    plugin_files: tuple[Path, ...]
    patience: float
    loader_workers: int | None = None


def serve(connection: Connection, setup: Setup) -> None:
    """Do jobs until the driver closes the connection; the process's main function."""
    # The driver decides what an interrupt from the keyboard means.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # A rule that prints must not print into the driver's result.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    warm = False
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        if not isinstance(job, Job):
            continue  # an answer that came too late
        ended = do(WorkerReporter(connection, job), setup)
        gc.collect()
        if not warm:
            gc.freeze()  # so that later collections skip what has been imported by now
            warm = True
        try:
            connection.send(JobDone(ended, resident_mib()))
        except OSError:
            return


def do(reporter: WorkerReporter, setup: Setup) -> Ended:
    """Do a job, and return how it ended, whatever error it raises."""
    kind = None
    try:
        with contained():
            done = _carry_out(reporter, setup)
    except LbenchError as error:
        kind = error.kind
        done = AttemptResult(empty_result("failed", error.message), cached=False, stopped=None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and plugin_errors.outside_plugins(error):
            why, kind = refused(error), SYSTEM
        else:
            why = plugin_errors.reason(error)
        done = AttemptResult(empty_result("failed", why), cached=False, stopped=None)
    location = reporter.location
    if location is not None and (location.run_dir.path / "spec.json").exists():
        if not reporter.announced:
            rows = location.run_dir.epochs()
            steps = done.result["steps"] or 0
            reporter.announce(steps, rows[0]["step"] if rows else steps)
        if done.cached:
            reporter.history(over=True)
    return Ended(
        reporter.job.key,
        done.result["status"],
        done.result,
        None if location is None else location.run_dir.path,
        done.cached,
        None if location is None else location.attempt,
        kind,
    )


def _carry_out(reporter: WorkerReporter, setup: Setup) -> AttemptResult:
    job = reporter.job
    for file in setup.plugin_files:
        registry().add_file(file)
    machine = Machine(
        pick(setup.device),
        setup.threads,
        setup.checkpoint_every,
        setup.cores,
        loader_workers=setup.loader_workers,
    )
    resolved = resolve(job.request, registry())
    cell, deadline = resolved.cell, time.monotonic() + setup.patience
    waiting = False
    while reporter.stop_reason() is None:
        run_dir, attempt = locate(setup.home, cell, job.seed, probes=job.probes)
        reporter.location = RunLocation(cell, run_dir, attempt)
        try:
            return carry_out(
                resolved,
                job.seed,
                attempt,
                run_dir,
                setup.home,
                machine,
                lambda: reporter,
                lambda: None,
                probes=job.probes,
                trial=job.trial,
            )
        except LockedError as error:
            # A worker whose driver has died is about to write its checkpoint.
            if time.monotonic() > deadline:
                raise
            if not waiting:
                reporter.note(f"Waiting. {error.message}")
            waiting = True
            time.sleep(PAUSE)
    return AttemptResult(empty_result("killed", INTERRUPTED), cached=False, stopped=INTERRUPTED)
