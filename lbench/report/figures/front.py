"""Two things that cannot both be lowest: error against memory, time or size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.errors import unknown
from lbench.quantities import QUANTITIES
from lbench.report.compare import mean
from lbench.report.figures.figure import (
    COLOURS,
    FAINT,
    PANELS,
    PAPER,
    Figure,
    clipped,
    head,
    legend,
    log_axis,
    logarithmic,
    look,
    panels,
)
from lbench.report.figures.searching import OBJECTIVES
from lbench.report.figures.series import ends, places
from lbench.report.lines import Line, groups, placed
from lbench.studies.results import Results, SearchResult, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _measured(name: str) -> Callable[[Line], float | None]:
    return lambda line: line.row.measured[name]


COSTS: Mapping[str, tuple[str, Callable[[Line], float | None]]] = {
    **{q.key: (q.axis_label, _measured(q.name)) for q in QUANTITIES if q.cost},
    "params": ("parameters that prediction reaches", lambda line: line.row.cell.params_inf),
}
"""What the cells of a table may be shown against, and what axes call it."""


def pareto(results: Results, cost: str = "") -> list[Figure]:
    """The trials of searches with several objectives, or with an argument the table's cells.

    Args:
        cost: one of :data:`COSTS`; "" for the searches' own objectives.

    Raises:
        UsageError: there is no such cost.
    """
    if not cost:
        return _of_searches(results)
    if cost not in COSTS:
        raise unknown("cost", cost, COSTS, listing="Known: " + ", ".join(COSTS))
    return _of_cells(results, cost)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one is better than in both, by the first."""
    found: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


def _of_searches(results: Results) -> list[Figure]:
    pairs = [
        (search, at)
        for search in results.searches
        for at in range(1, len(search.objectives))
        if any(trial.values for trial in search.trials)
    ]
    if not pairs:
        return []
    points = [search.point for search in results.searches]
    picture, axes = panels(min(len(pairs), PANELS), height=3.2)
    for each, (search, at) in zip(axes, pairs, strict=False):
        known = [trial for trial in search.trials if trial.values]
        best = {trial.number for trial in search.front}
        others = [t for t in known if t.number not in best]
        mine = sorted((t for t in known if t.number in best), key=lambda t: _xy(t, at))
        if others:
            each.plot(
                *zip(*(_xy(t, at) for t in others), strict=True), "o", color=COLOURS[0],
                markerfacecolor=PAPER, label="other trials",
            )  # fmt: skip
        if mine:
            # With three objectives the front is a surface, of which a line would tell nothing.
            style = "o-" if len(search.objectives) == 2 else "o"
            each.plot(
                *zip(*(_xy(t, at) for t in mine), strict=True), style, color=COLOURS[1],
                label="Pareto front",
            )  # fmt: skip
        _scale(each, [_xy(t, at) for t in known])
        each.set_xlabel(OBJECTIVES[search.objectives[at]])
        each.set_ylabel(OBJECTIVES[search.objectives[0]])
        head(each, placed(search.point, points))
    legend(picture, axes)
    data = [row for search in _once(pairs) for row in _rows(search, placed(search.point, points))]
    caption = "Complete trials; filled: no other trial is better in every objective."
    return [Figure("pareto", "Objectives of the searches", caption, picture, data)]


def _of_cells(results: Results, cost: str) -> list[Figure]:
    title, measure = COSTS[cost]
    found = {
        place: known
        for place, lines in places(groups(results)).items()
        if (known := [line for line in lines if line.row.test and measure(line) is not None])
    }
    if not found:
        return []
    picture, axes = panels(min(len(found), PANELS), height=3.6)
    names = list(dict.fromkeys(line.name for lines in found.values() for line in lines))
    data: list[dict[str, Any]] = []
    for number, (place, lines) in enumerate(found.items()):
        at = [(measure(line) or 0.0, mean(line.row.test) or 0.0) for line in lines]
        best = set(front(at))
        data += [
            {
                "panel": place,
                "series": line.title,
                cost: x,
                "test_error": y,
                "front": (x, y) in best,
            }
            for line, (x, y) in zip(lines, at, strict=True)
        ]
        if number >= len(axes):
            continue
        each = axes[number]
        each.plot(*zip(*front(at), strict=True), color=FAINT, linewidth=1, drawstyle="steps-post")
        for line, (x, y) in zip(lines, at, strict=True):
            style = {**look(names.index(line.name)), "linestyle": "none"}
            each.plot([x], [y], label=clipped(line.name), **style)
            if (band := ends(line)) is not None:
                each.plot([x, x], band, color=style["color"], linewidth=1)
        _scale(each, at)
        each.set_xlabel(title)
        each.set_ylabel("test error (%)")
        head(each, place)
    legend(picture, axes)
    caption = (
        "Mean over seeds, error with its 95 % interval. The grey line joins the cells that no "
        "other is better than in both."
    )
    return [Figure(f"pareto-{cost}", f"Test error against {title}", caption, picture, data)]


def _once(pairs: Sequence[tuple[SearchResult, int]]) -> list[SearchResult]:
    return list({search.name: search for search, _ in pairs}.values())


def _rows(search: SearchResult, name: str) -> list[dict[str, Any]]:
    best = {trial.number for trial in search.front}
    return [
        {
            "search": name,
            "trial": trial.number,
            **dict(zip(search.objectives, trial.values, strict=True)),
            "front": trial.number in best,
            **trial.params,
        }
        for trial in search.trials
        if trial.values
    ]


def _xy(trial: Trial, at: int) -> tuple[float, float]:
    values = trial.values or ()
    return values[at], values[0]


def _scale(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    first, second = [x for x, _ in points], [y for _, y in points]
    if logarithmic(first):
        log_axis(axes.xaxis, first)
    if logarithmic(second):
        log_axis(axes.yaxis, second)
