"""Small studies of real digits, trained here: what a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbench.home import Home
from lbench.registry import registry
from lbench.run.resolve import resolve
from lbench.rundir import RunDir
from lbench.store.record import Record
from lbench.study.definition import Domain, Point, Study
from lbench.study.plan import plan
from lbench.study.results import Final, Results, SearchResult, Trial
from lbench.study.settings import request
from tests.run.helper import run


def finals(
    study: Study, home: Home, chosen: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Final]:
    """Every cell of a study, trained with its seeds."""
    made = []
    for point in plan(study, registry()).points:
        settings = (chosen or {}).get(point.key, {})
        resolved = resolve(request(point, registry(), study.protocol, settings), registry())
        outcomes = run(home.root, resolved, seeds=study.seeds)
        with Record.open(home) as record:
            runs = [record.take(RunDir(outcome.run_dir)) for outcome in outcomes]
            cell = record.cell(resolved.cell.fingerprint)
        made.append(Final(point, settings, cell, runs))
    return made


def search(
    point: Point,
    home: Home,
    suggestions: Sequence[Mapping[str, Any]],
    space: Mapping[str, Domain],
    *,
    pruned: Sequence[int] = (),
    together: int = 2,
) -> SearchResult:
    """A search whose trials were trained, with these suggestions; some count as pruned."""
    trials = []
    for number, params in enumerate(suggestions):
        resolved = resolve(request(point, registry(), "strict", params), registry())
        (outcome,) = run(home.root, resolved)
        with Record.open(home) as record:
            row = record.take(RunDir(outcome.run_dir))
        curve = {e["epoch"]: e["val_error"] for e in RunDir(outcome.run_dir).epochs()}
        state = "pruned" if number in pruned else "complete"
        if row.status != "finished":
            state = "fail"
        values = (row.val_error,) if state == "complete" and row.val_error is not None else None
        trials.append(
            Trial(number, state, params, values, curve, row.reason, row.cell, [row], 0.0, 1.0)
        )
    done = sorted((t for t in trials if t.values), key=lambda t: t.values or ())
    best = done[0] if done else None
    examples = 143
    return SearchResult(
        point, f"made/{point.key}", space, ("val_error",), len(trials), trials, best,
        done[:together], done[:1], examples, {name: 1 / len(space) for name in space},
    )  # fmt: skip


def results(study: Study, root: Path, **changes: Any) -> Results:
    """All cells of a study without a search."""
    home = Home(root)
    home.prepare()
    return Results(study, finals(study, home), (), command=f"lbench study {study.name}", **changes)
