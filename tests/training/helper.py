"""Helpers that train on the digits, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from lbench.execute.driver import RunOutcome, run_cell
from lbench.home import Home
from lbench.registry import registry
from lbench.training.forecast import TimeEstimate
from lbench.training.job import Machine
from lbench.training.resolve import Request, Resolved, resolve
from tests import forked


class Silent:
    """A reporter that keeps notes and epochs."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def plan(self, steps: int, per_epoch: int) -> None:
        pass

    def step(self, done: int, loss: float) -> None:
        pass

    def expect(self, estimate: TimeEstimate) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def stop_reason(self) -> str | None:
        return None

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        pass


def ask(rule: str = "bp", dataset: str = "digits", **changes: Any) -> Resolved:
    """Resolve a small request."""
    defaults: dict[str, Any] = {"epochs": 2}
    if "examples" in changes:
        defaults = {}
    return resolve(Request(rule, dataset, **{**defaults, **changes}), registry())


def run(
    home: Path,
    resolved: Resolved,
    *,
    seeds: int = 1,
    reporter: Silent | None = None,
    checkpoint_every: float = 1e9,
    threads: int = 1,
    audit: bool = False,
    **changes: Any,
) -> list[RunOutcome]:
    """Train without a store and, unless ``audit``, without glances, which take long."""
    machine = Machine(torch.device("cpu"), threads, checkpoint_every, audit=audit)
    silent = reporter or Silent()
    return run_cell(
        resolved, range(seeds), Home(home), machine, lambda seed: silent, None, **changes
    )


def words(*arguments: str, home: Path) -> list[str]:
    """Return the arguments of ``lbench run`` on one thread."""
    return ["run", "--threads", "1", "--home", str(home), *arguments]


def command(*arguments: str, home: Path) -> list[str]:
    """Return the command of ``lbench run`` in a new interpreter, whose start takes seconds."""
    return [sys.executable, "-m", "lbench", *words(*arguments, home=home)]


def start(*arguments: str, home: Path) -> forked.Command:
    """Start ``lbench run`` in a process of its own, and do not wait for it."""
    return forked.Command(*words(*arguments, home=home))


def lbench_run(*arguments: str, home: Path, code: int = 0, **env: str) -> dict[str, Any]:
    """Run ``lbench run --json`` in a process of its own, and return the JSON object."""
    done = forked.run(*words(*arguments, home=home), "--json", env={**os.environ, **env})
    assert done.returncode == code, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def epoch_log(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the epoch log of a run without its times."""
    rows = [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").open()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
