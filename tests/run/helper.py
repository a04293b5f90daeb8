"""Runs of real digits, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from lbench.execute.driver import Outcome, run_cell
from lbench.home import Home
from lbench.registry import registry
from lbench.run.job import Machine
from lbench.run.resolve import Request, Resolved, resolve
from tests import forked


class Silent:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def plan(self, steps: int, per_epoch: int) -> None:
        pass

    def step(self, done: int, loss: float) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def asked(self) -> str | None:
        return None

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        pass


def ask(rule: str = "bp", dataset: str = "digits", **changes: Any) -> Resolved:
    """A small request, resolved."""
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
    audited: bool = False,
    **changes: Any,
) -> list[Outcome]:
    """Trains without a store, and without the looks that take as long as a short run."""
    machine = Machine(torch.device("cpu"), threads, checkpoint_every, audited=audited)
    told = reporter or Silent()
    return run_cell(resolved, range(seeds), Home(home), machine, lambda seed: told, None, **changes)


def words(*arguments: str, home: Path) -> list[str]:
    """The words of ``lbench run`` on one thread."""
    return ["run", "--threads", "1", "--home", str(home), *arguments]


def command(*arguments: str, home: Path) -> list[str]:
    """``lbench run`` in an interpreter of its own, as a user starts it: it takes seconds."""
    return [sys.executable, "-m", "lbench", *words(*arguments, home=home)]


def start(*arguments: str, home: Path) -> forked.Command:
    """``lbench run`` in a process of its own, which goes on meanwhile."""
    return forked.Command(*words(*arguments, home=home))


def lbench_run(*arguments: str, home: Path, code: int = 0, **env: str) -> dict[str, Any]:
    """The JSON object that ``lbench run --json`` prints, in a process of its own."""
    done = forked.run(*words(*arguments, home=home), "--json", env={**os.environ, **env})
    assert done.returncode == code, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def journal(run_dir: str | Path) -> list[dict[str, Any]]:
    """The epochs of a run without its clocks."""
    rows = [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").open()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
