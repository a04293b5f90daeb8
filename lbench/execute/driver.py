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
) -> list[Outcome]:
    """Trains what is missing and reports what has ended.

    Args:
        reporter: makes one for a seed that is trained.
        writer: of the store; None for none.
        force: train again, as a new attempt, what has ended.

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
        run_dir, attempt = locate(home, cell, seed, force=force)
        stopped = False
        try:
            with run_dir.locked():
                # Read under the lock: another process may have ended it just now.
                result = run_dir.result()
                cached = result is not None and result["status"] in ENDED
                if result is None or not cached:
                    result, stopped = _train(
                        resolved, seed, attempt, run_dir, machine, reporter(seed), writer
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
    if result is not None and (force or result["status"] not in ENDED):
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
) -> tuple[dict[str, Any], bool]:
    """Trains; an error of the rule or of PyTorch ends the run as failed."""

    def started() -> None:
        if writer is not None:
            writer.take(run_dir)

    try:
        return train(resolved, seed, attempt, run_dir, machine, reporter, started)
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
