"""One attempt at a run: where it lies, and what is left to do for it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.errors import LbenchError
from lbench.home import Home
from lbench.registry import registry
from lbench.run import checkpoint, raised
from lbench.run.cell import Cell
from lbench.run.ending import ended, untested
from lbench.run.job import Machine, complete_trial, train
from lbench.run.probing import missing
from lbench.run.resolve import Resolved
from lbench.run.trainer import Reporter
from lbench.rundir import RunDir, write_json

ENDED = ("finished", "diverged")
"""Statuses that the same spec would reach again: reported, not repeated."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an attempt.

    Args:
        result: as in ``result.json``.
        cached: it had ended before, and nothing was done now.
        stopped: we were interrupted.
    """

    result: dict[str, Any]
    cached: bool
    stopped: bool


def carry_out(
    resolved: Resolved,
    seed: int,
    attempt: int,
    run_dir: RunDir,
    home: Home,
    machine: Machine,
    reporter: Callable[[], Reporter],
    started: Callable[[], None],
    *,
    probes: Sequence[str] = (),
    trial: bool = False,
) -> Done:
    """Trains a run, goes on with it, or reports it if it has ended; in this process.

    Args:
        reporter: makes one when there is something to do.
        started: called when ``spec.json`` is written, before the first step.
        probes: names of probes; what has ended without them is trained again.
        trial: of a search: see :func:`lbench.run.job.train`. A run that was a trial's is
            completed when it is asked for as any other.

    Raises:
        LockedError: another process is training this run.
        DamagedError: its directory holds something else than lbench wrote.
        OSError: the system refuses to read or write; what was trained can be continued.
    """
    with run_dir.locked():
        # Read under the lock: another process may have ended it just now.
        result = run_dir.result()
        if result is not None and result["status"] in ENDED and not missing(run_dir, probes):
            if trial or not untested(result):
                return Done(result, cached=True, stopped=False)
            result = complete_trial(resolved, seed, run_dir, machine, reporter())
            return Done(result, cached=False, stopped=False)
        told = reporter()
        wanted = _wanted(home, resolved.cell, seed, probes, told)
        try:
            result, stopped = train(
                resolved,
                seed,
                attempt,
                run_dir,
                machine,
                told,
                started,
                probes=wanted,
                trial=trial,
            )
        except (LbenchError, KeyboardInterrupt):
            raise
        except BaseException as error:
            classes = (resolved.cell.rule_class, type(resolved.cell.network_spec))
            if raised.passed_on(error, *classes):
                raise
            result, stopped = _failed(run_dir, error, *classes), False
        finally:
            told.close()
    return Done(result, cached=False, stopped=stopped)


def locate(
    home: Home, cell: Cell, seed: int, *, force: bool = False, probes: Sequence[str] = ()
) -> tuple[RunDir, int]:
    """The directory and number of the attempt that is to be reported, continued or begun."""
    found = _attempts(home, cell, seed)
    base = home.runs / cell.slug
    if not found:
        return RunDir(base / f"seed-{seed}"), 1
    latest = max(found)
    result = found[latest].result()
    if result is None or result["status"] == "pruned":
        return found[latest], latest
    if force or result["status"] not in ENDED or missing(found[latest], probes):
        latest += 1
        return RunDir(base / f"seed-{seed}.attempt-{latest}"), latest
    return found[latest], latest


def _attempts(home: Home, cell: Cell, seed: int) -> dict[int, RunDir]:
    return {
        int(match[1] or 1): RunDir(path)
        for path in (home.runs / cell.slug).glob(f"seed-{seed}*")
        if (match := re.fullmatch(rf"seed-{seed}(?:\.attempt-(\d+))?", path.name))
    }


def _wanted(
    home: Home, cell: Cell, seed: int, probes: Sequence[str], reporter: Reporter
) -> list[str]:
    """The probes that are asked for, and where there are any those of earlier attempts too.

    So the latest attempt has every table, and no two commands undo each other's.
    """
    if not probes:
        return []
    ended = []
    for _, run_dir in sorted(_attempts(home, cell, seed).items()):
        result = run_dir.result()
        if result is not None and result["status"] in ENDED:
            ended.append(run_dir)
    if ended and (lacking := missing(ended[-1], probes)):
        reporter.note(f"It has ended without probe {', '.join(lacking)}: training it again.")
    tables = {path.stem for each in ended for path in (each.path / "probes").glob("*.parquet")}
    return list(dict.fromkeys([*probes, *sorted(tables & registry().probes.keys())]))


def _failed(run_dir: RunDir, error: BaseException, *classes: type) -> dict[str, Any]:
    """Record that an error of the rule or of PyTorch has ended a run, and keep its traceback."""
    run_dir.traceback.write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
    result = ended("failed", raised.reason(error, *classes))
    write_json(run_dir.path / "result.json", result)
    checkpoint.clear(run_dir.path)
    return result
