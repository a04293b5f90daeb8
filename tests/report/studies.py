"""Small studies of real digits, from whose results the tests make reports."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.registry import registry
from lbench.report.entries import draw
from lbench.report.figures.figure import style
from lbench.rundir import RunDir
from lbench.store.record import Record
from lbench.store.rows import RunRow
from lbench.studies.definition import Arm, Domain, Point, Search, Span, Study
from lbench.studies.plan import plan
from lbench.studies.results import Final, SearchResult, StudyData, Trial
from lbench.studies.settings import request
from lbench.training.resolve import resolve
from tests.training.helper import run


def finals(
    study: Study,
    home: Home,
    chosen: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    audited: bool = False,
) -> list[Final]:
    """Train every configuration of a study with its seeds."""
    made = []
    for point in plan(study, registry()).points:
        settings = (chosen or {}).get(point.key, {})
        resolved = resolve(request(point, registry(), study.protocol, settings), registry())
        outcomes = run(home.root, resolved, seeds=study.seeds, probes=study.probes, audit=audited)
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
    """Train the trials of a search with these suggestions; some count as pruned."""
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


@dataclass(frozen=True)
class Trained:
    """Studies that were trained.

    Args:
        home: where.
        grid: two values of an option, a control, and an arm that diverges.
        search: seven trials at one point, two of them pruned and one failed.
    """

    home: Home
    grid: StudyData
    search: StudyData


WILD = {"optimizer": "sgd", "lr": 100.0, "schedule": "constant", "weight_decay": 1.0}
"""A recipe that diverges."""
GRID = Study(
    name="grid",
    title="Leaders of digits",
    question="Does the percentage of leaders matter?",
    kind="grid",
    arms=(
        Arm("bp", settings={"epochs": 2}),
        Arm("lfnn_l", settings={"epochs": 2}, axes={"leadership": (0.3, 0.9)}),
        Arm("bp", name="wild_bp", settings={"epochs": 2, **WILD}),
    ),
    datasets=("digits",),
    protocol="strict",
    seeds=3,
    figures=("lines:leadership", "bars", "pareto:step_ms"),
    margin=0.5,
    published="none of digits",
)
SEARCH = Study(
    name="search",
    title="The best rate for digits",
    question="Which learning rate is best?",
    kind="search",
    arms=(Arm("bp", settings={"epochs": 2}),),
    datasets=("digits",),
    seeds=2,
    search=Search(trials=7),
    analysis="identify",
    figures=("slice:lr", "pareto"),
)
RATES = (0.001, 0.003, 0.01, 0.0001, 0.03, 0.002)
SPACE: Mapping[str, Domain] = {
    "lr": Span(1e-4, 0.1, log=True),
    "optimizer": ("adam", "adamw", "sgd"),
}


def train(root: Path) -> Trained:
    """Train both studies."""
    home = Home(root)
    home.prepare()
    absent = {"mnist": "its files are not there"}
    missing = [Point(1, "lfnn_l", "digits", "mlp", {"leadership": 0.5}, {"leadership": 0.5})]
    grid = StudyData(
        GRID,
        finals(GRID, home, audited=True),
        (),
        missing,
        absent,
        "lbench study grid --datasets digits",
    )
    (point,) = plan(SEARCH, registry()).points
    suggestions = [{"lr": lr, "optimizer": "adam"} for lr in RATES]
    suggestions.append(WILD)
    found = search(point, home, suggestions, SPACE, pruned=(3, 4))
    chosen = {point.key: dict(found.best.params)} if found.best else {}
    searched = StudyData(
        SEARCH, finals(SEARCH, home, chosen), [found], command="lbench study search"
    )
    return Trained(home, grid, searched)


def measuring(run: RunRow, **values: float) -> RunRow:
    """Return a run in which other values were measured."""
    return replace(run, measured={**run.measured, **values})


def with_errors(results: StudyData, errors: Sequence[Sequence[float]]) -> StudyData:
    """Return the study with these test errors, a list per configuration; seeds are added."""
    changed = []
    for final, values in zip(results.finals, errors, strict=True):
        run = final.runs[0]
        runs = [
            replace(measuring(run, test_error=value), seed=seed, status="finished", reason=None)
            for seed, value in enumerate(values)
        ]
        changed.append(replace(final, runs=runs))
    return replace(results, finals=changed)


def crowded(results: StudyData, count: int) -> StudyData:
    """Return a study with ``count`` configurations with long names, copied from the given ones."""
    names = [f"a_rule_with_a_name_of_forty_letters_or_so_{number}" for number in range(count)]
    finals = [
        replace(final, point=replace(final.point, label=name))
        for name, final in zip(names, itertools.cycle(results.finals), strict=False)
    ]
    searches = [
        replace(search, point=replace(search.point, label=name))
        for name, search in zip(names, itertools.cycle(results.searches), strict=False)
    ]
    return replace(results, finals=finals, searches=searches)


def grid(study: Study, root: Path) -> StudyData:
    """Train all configurations of a study without a search."""
    home = Home(root)
    home.prepare()
    return StudyData(study, finals(study, home), (), command=f"lbench study {study.name}")


def grids(factory: pytest.TempPathFactory, *studies: Study) -> dict[str, StudyData]:
    """Train grids, each in a home of its own; the results by the names of the studies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LBENCH_STORE", raising=False)
        return {study.name: grid(study, factory.mktemp(study.name)) for study in studies}


def assert_drawn(results: StudyData, name: str, names: Sequence[str]) -> None:
    """Assert that a figure has its parts, each with data, and that no text is cut."""
    figures = draw(results, name)
    assert [figure.name for figure in figures] == names
    for figure in figures:
        assert figure.data
        every_text_inside(figure)


def assert_few_lines(results: StudyData, name: str, drawn: str) -> None:
    """Assert that 14 series are in a figure's data, and that no panel draws more than 11 lines."""
    with style():
        (figure,) = [each for each in draw(crowded(results, 14), name) if each.name == drawn]
        every_text_inside(figure)
    for each in figure.picture.axes:
        assert len({line.get_label() for line in each.lines if line.get_label()[0] != "_"}) <= 11
    assert "in the data" in figure.caption or "the data have all" in figure.caption
    assert len({row["series"] for row in figure.data}) >= 14


def without_figures(patch: pytest.MonkeyPatch) -> None:
    """Make reports without figures: to draw them takes most of a report's time."""
    patch.setattr("lbench.report.study.draw", lambda results, name: [])


def every_text_inside(figure: Any) -> None:
    """Check that no label or title of a figure is cut, and no two panels' titles meet."""
    figure.picture.draw_without_rendering()
    page = figure.picture.bbox
    titles = []
    for axes in figure.picture.axes:
        if not axes.get_visible():
            continue
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            if text.get_text():
                box = text.get_window_extent()
                assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, text.get_text()
                assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, text.get_text()
        if axes.title.get_text():
            titles.append(axes.title.get_window_extent())
    for at, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[at + 1 :])
