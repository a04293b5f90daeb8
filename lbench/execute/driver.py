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
from lbench.run import checkpoint
from lbench.run.cell import Cell
from lbench.run.job import Machine, ended, train
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
        result: as in ``result.json``.
        mlflow_run_id: None without a store.
    """

    seed: int
    attempt: int
    fingerprint: str
    run_dir: Path
    cached: bool
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
) -> list[Outcome]:
    """Trains what is missing and reports what has ended.

    Args:
        reporter: makes one for a seed that is trained.
        writer: of the store; None for none.
        force: train again, as a new attempt, what has ended.

    Returns:
        One outcome a seed, up to the first that was interrupted.

    Raises:
        LockedError: another process is training one of these runs.
    """
    cell = resolved.cell
    outcomes: list[Outcome] = []
    for seed in seeds:
        run_dir, attempt = locate(home, cell, seed, force=force)
        with run_dir.locked():
            # Read under the lock: another process may have ended it just now.
            result = run_dir.result()
            cached = result is not None and result["status"] in ENDED
            if result is None or not cached:
                result = _train(resolved, seed, attempt, run_dir, machine, reporter(seed), writer)
        if writer is not None:
            writer.take(run_dir)
        params = (run_dir.spec() or {}).get("params", {})
        fingerprint = cell.run_fingerprint(seed)
        outcomes.append(Outcome(seed, attempt, fingerprint, run_dir.path, cached, result, params))
        if result["status"] == "killed":
            break
    if writer is not None:
        _publish(writer, cell, outcomes)
    return outcomes


def locate(home: Home, cell: Cell, seed: int, *, force: bool = False) -> tuple[RunDir, int]:
    """The directory and number of the attempt that is to be reported, continued or begun."""
    base = home.runs / cell.slug
    found = {
        int(match[1] or 1): path
        for path in base.glob(f"seed-{seed}*")
        if (match := re.fullmatch(rf"seed-{seed}(?:\.attempt-(\d+))?", path.name))
    }
    if not found:
        return RunDir(base / f"seed-{seed}"), 1
    latest = max(found)
    result = RunDir(found[latest]).result()
    if force or (result is not None and result["status"] not in ENDED):
        latest += 1
        return RunDir(base / f"seed-{seed}.attempt-{latest}"), latest
    return RunDir(found[latest]), latest


def _train(
    resolved: Resolved,
    seed: int,
    attempt: int,
    run_dir: RunDir,
    machine: Machine,
    reporter: Reporter,
    writer: Writer | None,
) -> dict[str, Any]:
    def started() -> None:
        if writer is not None:
            writer.take(run_dir)

    try:
        return train(resolved, seed, attempt, run_dir, machine, reporter, started)
    except LbenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            reason = f"out of memory: {error}"
        (run_dir.path / "error.txt").write_text(traceback.format_exc())
        result = ended("failed", reason.splitlines()[0])
        write_json(run_dir.path / "result.json", result)
        checkpoint.clear(run_dir.path)
        return result
    finally:
        reporter.close()


def _publish(writer: Writer, cell: Cell, outcomes: Sequence[Outcome]) -> None:
    known = writer.published(cell.fingerprint)
    if any(not each.cached or each.seed not in known for each in outcomes):
        known = writer.publish(cell.fingerprint)
    for outcome in outcomes:
        outcome.mlflow_run_id = known.get(outcome.seed)
