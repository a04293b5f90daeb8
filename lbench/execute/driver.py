"""The runs of a configuration in this process, one seed after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.execute.attempt import ENDED, carry_out, locate
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.training.cell import Cell
from lbench.training.job import Machine
from lbench.training.reporter import Reporter
from lbench.training.resolve import Resolved


@dataclass(slots=True)
class RunOutcome:
    """The outcome of one seed's run.

    Args:
        cached: whether the run had ended before, so that it was not trained.
        stopped: why the command was stopped, ``interrupted`` or ``time over``; later seeds were
            then not begun. None if it was not.
        result: content of ``result.json``.
        mlflow_run_id: id of the run in MLflow; None without a store.
    """

    seed: int
    attempt: int
    fingerprint: str
    run_dir: Path
    cached: bool
    stopped: str | None
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
) -> list[RunOutcome]:
    """Train the runs that are missing, and return the outcomes of all.

    Args:
        reporter: creates the reporter of a seed that is trained.
        writer: writer of the store; None for none.
        force: whether runs that have ended are trained again, as new attempts.
        probes: names of probes; runs that have ended without them are trained again too.

    Returns:
        One outcome per seed, up to the first seed whose run was interrupted.

    Raises:
        LockedError: another process is training one of these runs.
        DamagedError: a run directory has content that lbench did not write.
        OSError: the system refuses to read or write; the training so far can be continued.
    """
    cell = resolved.cell
    outcomes: list[RunOutcome] = []
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
            # An exception that ends the command is recorded too.
            if writer is not None and (run_dir.path / "spec.json").exists():
                writer.take(run_dir)
        spec = run_dir.spec() or {}
        outcomes.append(
            RunOutcome(
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
    # The record does not know the configuration if each run failed before its spec was written.
    if writer is not None and any(RunDir(outcome.run_dir).spec() for outcome in outcomes):
        _publish(writer, cell, outcomes)
    return outcomes


def ended(home: Home, cell: Cell, seed: int, probes: Sequence[str] = ()) -> bool:
    """Return whether a run has ended, so that :func:`run_cell` does not train it."""
    result = locate(home, cell, seed, probes=probes)[0].result()
    return result is not None and result["status"] in ENDED


def _publish(writer: Writer, cell: Cell, outcomes: Sequence[RunOutcome]) -> None:
    run_ids = writer.published(cell.fingerprint)
    if any(not outcome.cached or outcome.seed not in run_ids for outcome in outcomes):
        run_ids = writer.publish(cell.fingerprint)
    for outcome in outcomes:
        outcome.mlflow_run_id = run_ids.get(outcome.seed)
