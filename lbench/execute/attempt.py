"""One attempt at a run: its directory, and the work that is left."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.errors import LbenchError
from lbench.home import Home
from lbench.registry import registry
from lbench.rundir import RunDir, write_json
from lbench.training import checkpoint, plugin_errors
from lbench.training.cell import Cell
from lbench.training.job import Machine, complete_trial, train
from lbench.training.reporter import Reporter
from lbench.training.resolve import Resolved
from lbench.training.results import empty_result, finished_as_trial
from lbench.training.run_probes import missing

ENDED = ("finished", "diverged")
"""Statuses that the same spec would reach again: such a run is reported, not repeated."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt.

    Args:
        result: content of ``result.json``.
        cached: whether the run had ended before, so that nothing was done.
        stopped: why the run was stopped, one of :data:`lbench.training.reporter.CONTINUABLE`;
            None if it was not.
    """

    result: dict[str, Any]
    cached: bool
    stopped: str | None


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
) -> AttemptResult:
    """Train a run, continue it, or return its result if it has ended; in this process.

    Args:
        reporter: creates a reporter if there is something to do.
        started: called when ``spec.json`` is written, before the first step.
        probes: names of probes; a run that has ended without them is trained again.
        trial: whether the run is a trial of a search, see :func:`lbench.training.job.train`. A
            finished trial is completed when it is requested with ``trial=False``.

    Raises:
        LockedError: another process is training this run.
        DamagedError: its directory has content that lbench did not write.
        OSError: the system refuses to read or write; the training so far can be continued.
    """
    with run_dir.locked():
        # Read under the lock: another process may have ended it just now.
        result = run_dir.result()
        if result is not None and result["status"] in ENDED and not missing(run_dir, probes):
            if trial or not finished_as_trial(result):
                return AttemptResult(result, cached=True, stopped=None)
            result = complete_trial(resolved, seed, run_dir, machine, reporter())
            return AttemptResult(result, cached=False, stopped=None)
        run_reporter = reporter()
        all_probes = _all_probes(home, resolved.cell, seed, probes, run_reporter)
        try:
            result, stopped = train(
                resolved,
                seed,
                attempt,
                run_dir,
                machine,
                run_reporter,
                started,
                probes=all_probes,
                trial=trial,
            )
        except (LbenchError, KeyboardInterrupt):
            raise
        except BaseException as error:
            classes = (resolved.cell.rule_class, type(resolved.cell.network_spec))
            if plugin_errors.outside_plugins(error, *classes):
                raise
            result, stopped = _failed(run_dir, error, *classes), None
        finally:
            run_reporter.close()
    return AttemptResult(result, cached=False, stopped=stopped)


def locate(
    home: Home, cell: Cell, seed: int, *, force: bool = False, probes: Sequence[str] = ()
) -> tuple[RunDir, int]:
    """Return the directory and number of the attempt to report, continue or begin."""
    attempts = _attempts(home, cell, seed)
    base = home.runs / cell.slug
    if not attempts:
        return RunDir(base / f"seed-{seed}"), 1
    latest = max(attempts)
    result = attempts[latest].result()
    if result is None or result["status"] == "pruned":
        return attempts[latest], latest
    if force or result["status"] not in ENDED or missing(attempts[latest], probes):
        latest += 1
        return RunDir(base / f"seed-{seed}.attempt-{latest}"), latest
    return attempts[latest], latest


def _attempts(home: Home, cell: Cell, seed: int) -> dict[int, RunDir]:
    return {
        int(match[1] or 1): RunDir(path)
        for path in (home.runs / cell.slug).glob(f"seed-{seed}*")
        if (match := re.fullmatch(rf"seed-{seed}(?:\.attempt-(\d+))?", path.name))
    }


def _all_probes(
    home: Home, cell: Cell, seed: int, probes: Sequence[str], reporter: Reporter
) -> list[str]:
    """Return the requested probes and, if there are any, those of earlier attempts.

    The latest attempt then has every table, so that two commands with different probes do not
    repeat each other's runs.
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
    tables = {path.stem for run in ended for path in (run.path / "probes").glob("*.parquet")}
    return list(dict.fromkeys([*probes, *sorted(tables & registry().probes.keys())]))


def _failed(run_dir: RunDir, error: BaseException, *classes: type) -> dict[str, Any]:
    """Record that an error of the rule or of PyTorch has ended a run, and save its traceback."""
    run_dir.traceback.write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
    result = empty_result("failed", plugin_errors.reason(error, *classes))
    write_json(run_dir.path / "result.json", result)
    checkpoint.clear(run_dir.path)
    return result
