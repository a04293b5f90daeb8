"""A warm worker: a process that does one job after the other, and ends when its driver has."""

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
from lbench.execute.attempt import Done, carry_out, locate
from lbench.execute.messages import Ended, Job, Over
from lbench.execute.talk import Place, Talk
from lbench.home import Home
from lbench.registry import registry
from lbench.run import raised
from lbench.run.device import pick
from lbench.run.ending import ended
from lbench.run.job import Machine
from lbench.run.memory import resident_mib
from lbench.run.resolve import resolve
from lbench.run.trainer import INTERRUPTED

PAUSE = 0.2
"""Seconds between two looks at a run that another process holds."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all jobs of a worker have in common.

    Args:
        home: where runs lie.
        device: its name.
        threads: of torch on the CPU; None for as many as pay for the network of each job.
        cores: that a job may use where ``threads`` is None.
        checkpoint_every: seconds between checkpoints.
        plugin_files: plugins that are not installed.
        patience: seconds to wait for a run that another process holds.
    """

    home: Home
    device: str
    threads: int | None
    cores: int
    checkpoint_every: float
    plugin_files: tuple[Path, ...]
    patience: float


def serve(line: Connection, setup: Setup) -> None:
    """Does jobs until the driver hangs up; the process's main function."""
    # The driver decides what an interrupt from the keyboard means.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # A rule that prints must not print into the driver's result.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    warm = False
    while True:
        try:
            job = line.recv()
        except (EOFError, OSError):
            return
        if not isinstance(job, Job):
            continue  # an answer that came too late
        over = do(Talk(line, job), setup)
        gc.collect()
        if not warm:
            gc.freeze()  # what is imported by now is not looked through again after each job
            warm = True
        try:
            line.send(Over(over, resident_mib()))
        except OSError:
            return


def do(talk: Talk, setup: Setup) -> Ended:
    """Do a job, whatever happens in it; the keyboard's interrupt does not reach a worker."""
    kind = None
    try:
        with contained():
            done = _carry_out(talk, setup)
    except LbenchError as error:
        kind = error.kind
        done = Done(ended("failed", error.message), cached=False, stopped=False)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and raised.passed_on(error):
            why, kind = refused(error), SYSTEM
        else:
            why = raised.reason(error)
        done = Done(ended("failed", why), cached=False, stopped=False)
    place = talk.place
    if place is not None and (place.run_dir.path / "spec.json").exists():
        if not talk.announced:
            rows = place.run_dir.epochs()
            steps = done.result["steps"] or 0
            talk.announce(steps, rows[0]["step"] if rows else steps)
        if done.cached:
            talk.history(over=True)
    return Ended(
        talk.job.key,
        done.result["status"],
        done.result,
        None if place is None else place.run_dir.path,
        done.cached,
        None if place is None else place.attempt,
        kind,
    )


def _carry_out(talk: Talk, setup: Setup) -> Done:
    job = talk.job
    for file in setup.plugin_files:
        registry().add_file(file)
    machine = Machine(pick(setup.device), setup.threads, setup.checkpoint_every, setup.cores)
    resolved = resolve(job.request, registry())
    cell, deadline = resolved.cell, time.monotonic() + setup.patience
    waiting = False
    while talk.asked() is None:
        run_dir, attempt = locate(setup.home, cell, job.seed, probes=job.probes)
        talk.place = Place(cell, run_dir, attempt)
        try:
            return carry_out(
                resolved,
                job.seed,
                attempt,
                run_dir,
                setup.home,
                machine,
                lambda: talk,
                lambda: None,
                probes=job.probes,
                trial=job.trial,
            )
        except LockedError as error:
            # A worker whose driver has died is about to write its checkpoint.
            if time.monotonic() > deadline:
                raise
            if not waiting:
                talk.note(f"Waiting. {error.message}")
            waiting = True
            time.sleep(PAUSE)
    return Done(ended("killed", INTERRUPTED), cached=False, stopped=True)
