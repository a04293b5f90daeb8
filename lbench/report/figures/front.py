"""Two quantities that cannot both be lowest: error against memory, time or size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.errors import unknown
from lbench.quantities import QUANTITIES
from lbench.report.figures.figure import (
    COLOURS,
    DECADES,
    FAINT,
    PAPER,
    Figure,
    clipped,
    dots,
    log_axis,
    look,
    panel_figure,
)
from lbench.report.figures.searching import OBJECTIVES, titled
from lbench.report.figures.series import by_setup, ends
from lbench.report.lines import Line
from lbench.studies.results import SearchResult, StudyData, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _measured(name: str) -> Callable[[Line], float | None]:
    return lambda line: line.row.measured[name]


COSTS: Mapping[str, tuple[str, Callable[[Line], float | None]]] = {
    **{q.key: (q.axis_label, _measured(q.name)) for q in QUANTITIES if q.cost},
    "params": ("parameters that prediction reaches", lambda line: line.row.cell.params_inf),
}
"""Costs of a configuration, with the labels of their axes."""


def pareto(results: StudyData, cost: str = "") -> list[Figure]:
    """Draw the trials of searches with several objectives, or configurations against a cost.

    Args:
        results: of the study.
        cost: one of :data:`COSTS`; "" for the objectives of the searches.

    Raises:
        UsageError: there is no such cost.
    """
    if not cost:
        return _of_searches(results)
    if cost not in COSTS:
        raise unknown("cost", cost, COSTS, listing="Known: " + ", ".join(COSTS))
    return _of_lines(results, cost)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other one is better than in both, by the first."""
    found: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


def _of_searches(results: StudyData) -> list[Figure]:
    searches = titled(results, lambda s: len(s.objectives) > 1 and any(t.values for t in s.trials))
    contents = [(name, (s, at)) for name, s in searches for at in range(1, len(s.objectives))]
    data = [row for title, search in searches for row in _rows(search, title)]
    caption = "Complete trials; filled: no other trial is better in every objective."
    title = "Objectives of the searches"
    return panel_figure("pareto", title, caption, contents, _objectives, data, height=3.2)


def _objectives(axes: Axes, content: tuple[SearchResult, int]) -> None:
    search, at = content
    best = {trial.number for trial in search.front}
    known = [(t.number in best, _xy(t, at)) for t in search.trials if t.values]
    others, ours = ([xy for is_best, xy in known if is_best == wanted] for wanted in (False, True))
    dots(axes, others, "o", label="other trials", color=COLOURS[0], markerfacecolor=PAPER)
    # With three objectives the front is a surface, which a line does not show.
    line = "o-" if len(search.objectives) == 2 else "o"
    dots(axes, sorted(ours), line, label="Pareto front", color=COLOURS[1])
    _label(axes, [xy for _, xy in known], *(OBJECTIVES[search.objectives[k]] for k in (at, 0)))


def _of_lines(results: StudyData, cost: str) -> list[Figure]:
    title, measure = COSTS[cost]
    known = {
        setup: [
            (line, (measure(line) or 0.0, line.row.test.mean))
            for line in lines
            if line.row.test and measure(line) is not None
        ]
        for setup, lines in by_setup(results).items()
    }
    contents = [(setup, lines) for setup, lines in known.items() if lines]
    names = list(dict.fromkeys(line.name for _, lines in contents for line, _ in lines))
    data: list[dict[str, Any]] = []
    for setup, lines in contents:
        best = set(front([xy for _, xy in lines]))
        data += [
            {"panel": setup, "series": line.title, cost: xy[0], "test_error": xy[1],
             "front": xy in best}
            for line, xy in lines
        ]  # fmt: skip

    def draw(axes: Axes, lines: Sequence[tuple[Line, tuple[float, float]]]) -> None:
        points = [xy for _, xy in lines]
        steps: dict[str, Any] = {"color": FAINT, "linewidth": 1, "drawstyle": "steps-post"}
        axes.plot(*zip(*front(points), strict=True), **steps)
        for line, (x, y) in lines:
            style = {**look(names.index(line.name)), "linestyle": "none"}
            axes.plot([x], [y], label=clipped(line.name), **style)
            if (band := ends(line)) is not None:
                axes.plot([x, x], band, color=style["color"], linewidth=1)
        _label(axes, points, title, "test error (%)")

    caption = (
        "Mean over seeds, error with its 95 % interval. The grey line joins the configurations "
        "than which no other is better in both."
    )
    heading = f"Test error against {title}"
    return panel_figure(f"pareto-{cost}", heading, caption, contents, draw, data, height=3.6)


def _rows(search: SearchResult, title: str) -> list[dict[str, Any]]:
    best = {trial.number for trial in search.front}
    return [
        {
            "search": title,
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


def _label(axes: Axes, points: Sequence[tuple[float, float]], x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for axis, values in zip((axes.xaxis, axes.yaxis), zip(*points, strict=True), strict=True):
        log_axis(axis, values, DECADES)
