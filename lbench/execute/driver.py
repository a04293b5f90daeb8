"""Runs the seeds of a cell in this process, one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.execute.attempt import carry_out, locate
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.run.cell import Cell
from lbench.run.job import Machine
from lbench.run.resolve import Resolved
from lbench.run.trainer import Reporter
from lbench.rundir import RunDir


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

        def started(run_dir: RunDir = run_dir) -> None:
            if writer is not None:
                writer.take(run_dir)

        try:
            done = carry_out(
                resolved,
                seed,
                attempt,
                run_dir,
                home,
                machine,
                functools.partial(reporter, seed),
                started,
                probes=probes,
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
                done.cached,
                done.stopped,
                done.result,
                spec.get("params", {}),
            )
        )
        if done.stopped:
            break
    # A run that failed before its spec was written has no cell in the record.
    if writer is not None and any(RunDir(each.run_dir).spec() for each in outcomes):
        _publish(writer, cell, outcomes)
    return outcomes


def _publish(writer: Writer, cell: Cell, outcomes: Sequence[Outcome]) -> None:
    known = writer.published(cell.fingerprint)
    if any(not each.cached or each.seed not in known for each in outcomes):
        known = writer.publish(cell.fingerprint)
    for outcome in outcomes:
        outcome.mlflow_run_id = known.get(outcome.seed)
