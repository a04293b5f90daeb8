"""Runs the seeds of a cell in this process, one after the other."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lbench.errors import LbenchError
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.registry import registry
from lbench.run import checkpoint
from lbench.run.cell import Cell
from lbench.run.job import Machine, ended, train
from lbench.run.probing import missing
from lbench.run.resolve import Resolved
from lbench.run.trainer import Reporter
from lbench.rundir import RunDir, write_json

ENDED = ("finished", "diverged")
"""Statuses that the same spec would reach again: reported, not repeated."""


@dataclass(slots=True)
class Outcome:
    """One seed's run.

    Args:
        cached: it had ended before and was not trained now.
        stopped: we were asked to stop; seeds behind this one were not begun.
        result: as in ``result.json``.
        mlflow_run_id: None without a store.
    """

    seed: int
    attempt: int
    fingerprint: str
    run_dir: Path
    cached: bool
    stopped: bool
    result: dict[str, Any]
    params: dict[str, int]
    mlflow_run_id: str | None = None


def run_cell(
    resolved: Resolved,
    seeds: Sequence[int],
    home: Home,
    machine: Machine,
    reporter: Callable[[int], Reporter],
    writer: Writer | None,
    *,
    force: bool = False,
    probes: Sequence[str] = (),
) -> list[Outcome]:
    """Trains what is missing and reports what has ended.

    Args:
        reporter: makes one for a seed that is trained.
        writer: of the store; None for none.
        force: train again, as a new attempt, what has ended.
        probes: names of probes; what has ended without them is trained again too.

    Returns:
        One outcome a seed, up to the first during which we were asked to stop.

    Raises:
        LockedError: another process is training one of these runs.
        DamagedError: a run directory holds something else than lbench wrote.
        OSError: the system refuses to read or write; what was trained can be continued.
    """
    cell = resolved.cell
    outcomes: list[Outcome] = []
    for seed in seeds:
        run_dir, attempt = locate(home, cell, seed, force=force, probes=probes)
        stopped = False
        try:
            with run_dir.locked():
                # Read under the lock: another process may have ended it just now.
                result = run_dir.result()
                ended = result is not None and result["status"] in ENDED
                cached = ended and not missing(run_dir, probes)
                if result is None or not cached:
                    told = reporter(seed)
                    wanted = _wanted(home, cell, seed, probes, told)
                    result, stopped = _train(
                        resolved, seed, attempt, run_dir, machine, told, writer, wanted
                    )
        finally:
            # Also when we are torn away: the record then says so.
            if writer is not None and (run_dir.path / "spec.json").exists():
                writer.take(run_dir)
        spec = run_dir.spec() or {}
        outcomes.append(
            Outcome(
                seed,
                attempt,
                cell.run_fingerprint(seed),
                run_dir.path,
                cached,
                stopped,
                result,
                spec.get("params", {}),
            )
        )
        if stopped:
            break
    if writer is not None:
        _publish(writer, cell, outcomes)
    return outcomes


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
    again = force or bool(missing(found[latest], probes))
    if result is not None and (again or result["status"] not in ENDED):
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


def _train(
    resolved: Resolved,
    seed: int,
    attempt: int,
    run_dir: RunDir,
    machine: Machine,
    reporter: Reporter,
    writer: Writer | None,
    probes: Sequence[str],
) -> tuple[dict[str, Any], bool]:
    """Trains; an error of the rule or of PyTorch ends the run as failed."""

    def started() -> None:
        if writer is not None:
            writer.take(run_dir)

    try:
        return train(resolved, seed, attempt, run_dir, machine, reporter, started, probes=probes)
    except (LbenchError, OSError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            reason = f"out of memory: {error}"
        (run_dir.path / "error.txt").write_text(traceback.format_exc())
        result = ended("failed", reason.splitlines()[0])
        write_json(run_dir.path / "result.json", result)
        checkpoint.clear(run_dir.path)
        return result, False
    finally:
        reporter.close()


def _publish(writer: Writer, cell: Cell, outcomes: Sequence[Outcome]) -> None:
    known = writer.published(cell.fingerprint)
    if any(not each.cached or each.seed not in known for each in outcomes):
        known = writer.publish(cell.fingerprint)
    for outcome in outcomes:
        outcome.mlflow_run_id = known.get(outcome.seed)
