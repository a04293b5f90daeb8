"""The course of a search: its trials, the best so far, importances, and a single setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lbench.errors import UsageError
from lbench.quantities import QUANTITIES
from lbench.report.figures.figure import (
    COLOURS,
    INK,
    PAPER,
    Figure,
    clipped,
    few,
    left_out,
    log_axis,
    look,
    panel_figure,
    spans,
)
from lbench.report.figures.series import scale
from lbench.report.lines import called, placed
from lbench.report.searches import best_so_far, value, within
from lbench.studies.definition import Point, Span
from lbench.studies.results import SearchResult, StudyResults, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OBJECTIVES = {q.key: q.axis_label for q in QUANTITIES if q.objective} | {"params": "parameters"}
"""The labels of axes with objectives."""
WIDE = 5
"""Ratio of values from which on their axis is logarithmic."""
MORE = "searches"


def history(results: StudyResults, _: str = "") -> list[Figure]:
    """Draw the trials of each search by number: complete, pruned, failed; and the best so far."""
    searches = [search for search in results.searches if search.trials]
    if not searches:
        return []
    points = _points(results)
    caption = "Pruned trials are at their last validation error, failed ones at the upper edge."
    data = [row for search in searches for row in _rows(search, points)]
    contents = _titled(searches, points)
    title = "Trials of each search"
    return [panel_figure("history", title, caption, contents, _trials, data, height=2.9, what=MORE)]


def tuning(results: StudyResults, _: str = "") -> list[Figure]:
    """Draw the best so far of all searches of a dataset in one panel, against the trials."""
    setups: dict[str, list[SearchResult]] = {}
    for search in results.searches:
        if best_so_far(search):
            setup = f"{search.point.dataset}, {search.point.network}"
            setups.setdefault(setup, []).append(search)
    if not setups:
        return []
    points = _points(results)
    shown = {
        setup: few(searches, lambda search: best_so_far(search)[-1][1])
        for setup, searches in setups.items()
    }
    names = list(
        dict.fromkeys(called(s.point, points) for listed in shown.values() for s in listed)
    )
    data = [
        {"panel": setup, "series": called(search.point, points), "trials": number + 1,
         "best_so_far": best}
        for setup, searches in setups.items()
        for search in searches
        for number, best in best_so_far(search)
    ]  # fmt: skip

    def draw(axes: Axes, searches: Sequence[SearchResult]) -> None:
        values: list[float] = []
        for search in searches:
            name = called(search.point, points)
            at, lowest = _steps(search)
            values += lowest
            style = {**look(names.index(name)), "marker": "none"}
            numbers = [number + 1 for number in at]
            axes.step(numbers, lowest, where="post", label=clipped(name), **style)
        axes.set_xlabel("trials")
        axes.set_ylabel(f"best so far, {OBJECTIVES[searches[0].objectives[0]]}")
        _log(axes, values)

    caption = (
        "The lowest value of a complete trial up to each number of trials, one line per search."
    )
    count = sum(map(len, setups.values())) - sum(map(len, shown.values()))
    caption += left_out(count, "value")
    title = "Best so far: the tuning effort"
    contents = list(shown.items())
    return [panel_figure("best_so_far", title, caption, contents, draw, data, height=3.4)]


def importance(results: StudyResults, _: str = "") -> list[Figure]:
    """Draw the share of the trials' variance that each setting explains, a panel per search."""
    searches = [search for search in results.searches if search.importances]
    if not searches:
        return []
    points = _points(results)
    rows = max(len(search.importances) for search in searches)
    caption = "Over the complete trials, as estimated by Optuna; a rough guess with few trials."
    data = [
        {"search": title, "setting": name, "importance": share}
        for title, search in _titled(searches, points)
        for name, share in search.importances.items()
    ]
    title, height = "Importance of the settings", 1.0 + 0.24 * rows
    contents = _titled(searches, points)
    return [
        panel_figure(
            "importance", title, caption, contents, _shares, data, height=height, what=MORE
        )
    ]


def one_setting(results: StudyResults, setting: str) -> list[Figure]:
    """Draw value against a setting, a panel per search, with the set of the best trials marked.

    Raises:
        UsageError: no search has that setting; the message lists the settings that there are.
    """
    searches = [search for search in results.searches if setting in search.space]
    if not searches:
        if not results.searches:
            return []
        known = dict.fromkeys(name for search in results.searches for name in search.space)
        raise UsageError(
            f"The figure slice:{setting} needs a searched setting.",
            f"Searched are: {', '.join(known)}.",
        )
    points = _points(results)
    data = [row for search in searches for row in _rows(search, points)]
    caption = "Complete trials; those that are indistinguishable from the best are filled."

    def draw(axes: Axes, search: SearchResult) -> None:
        _slice(axes, search, setting)
        axes.set_ylabel(OBJECTIVES[search.objectives[0]])

    name, title = f"slice-{setting}", f"Validation error against {setting}"
    contents = _titled(searches, points)
    return [panel_figure(name, title, caption, contents, draw, data, height=2.9, what=MORE)]


def _trials(axes: Axes, search: SearchResult) -> None:
    complete = [(t.number, v) for t in search.trials if (v := value(t)) is not None]
    pruned = [(t.number, last) for t in search.trials if (last := _last(t)) is not None]
    failed = [t.number for t in search.trials if t.state == "fail"]
    if complete:
        axes.plot(*zip(*complete, strict=True), "o", color=COLOURS[0], label="complete")
    if pruned:
        axes.plot(
            *zip(*pruned, strict=True), "s", color=COLOURS[1], markerfacecolor=PAPER,
            markersize=4, label="pruned",
        )  # fmt: skip
    _log(axes, [v for _, v in complete + pruned])
    if failed:
        axes.plot(
            failed, [1.0] * len(failed), "x", color=INK, label="failed", clip_on=False,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    if best_so_far(search):
        axes.step(*_steps(search), where="post", color=COLOURS[2], label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(OBJECTIVES[search.objectives[0]])


def _shares(axes: Axes, search: SearchResult) -> None:
    order = sorted(search.importances.items(), key=lambda item: item[1])
    names, shares = zip(*order, strict=True)
    axes.barh(names, [100 * share for share in shares], color=COLOURS[0], height=0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("importance (%)")
    axes.grid(visible=False, axis="y")


def _slice(axes: Axes, search: SearchResult, setting: str) -> None:
    domain = search.space[setting]
    known = [
        (trial, v)
        for trial in search.trials
        if (v := value(trial)) is not None and within(domain, trial.params.get(setting))
    ]
    positions = scale([trial.params[setting] for trial, _ in known])
    together = {trial.number for trial in search.indistinguishable}
    for inside, label in ((False, "other trials"), (True, "indistinguishable from the best")):
        trials = [(t, v) for t, v in known if (t.number in together) == inside]
        if trials:
            axes.plot(
                [positions.at(t.params[setting]) for t, _ in trials], [v for _, v in trials], "o",
                color=COLOURS[1] if inside else COLOURS[0],
                markerfacecolor=COLOURS[1] if inside else PAPER, label=label,
            )  # fmt: skip
    if search.best is not None and within(domain, search.best.params.get(setting)):
        at = positions.at(search.best.params[setting])
        star: dict[str, Any] = {"color": INK, "markersize": 10}
        axes.plot([at], [value(search.best) or 0.0], "*", label="best", **star)
    positions.dress(axes, setting)
    if isinstance(domain, Span) and domain.log and not positions.log and positions.numbers:
        log_axis(axes.xaxis, positions.values)
    _log(axes, [v for _, v in known])


def _rows(search: SearchResult, points: Sequence[Point]) -> list[dict[str, Any]]:
    together = {trial.number for trial in search.indistinguishable}
    return [
        {
            "search": placed(search.point, points),
            "trial": trial.number,
            "state": trial.state,
            **dict(zip(search.objectives, trial.values or (), strict=False)),
            "last_val_error": _last(trial) if trial.state != "complete" else None,
            "reason": trial.reason,
            "indistinguishable": trial.number in together,
            **trial.params,
        }
        for trial in search.trials
    ]


def _points(results: StudyResults) -> list[Point]:
    return [search.point for search in results.searches]


def _titled(
    searches: Sequence[SearchResult], points: Sequence[Point]
) -> list[tuple[str, SearchResult]]:
    return [(placed(search.point, points), search) for search in searches]


def _steps(search: SearchResult) -> tuple[list[int], list[float]]:
    """Return the numbers of trials with the best value so far, up to the last trial."""
    steps = best_so_far(search)
    last = max(trial.number for trial in search.trials)
    return [*(number for number, _ in steps), last], [*(v for _, v in steps), steps[-1][1]]


def _last(trial: Trial) -> float | None:
    """Return the last validation error of a pruned trial."""
    if trial.state != "pruned" or not trial.intermediate:
        return None
    return trial.intermediate[max(trial.intermediate)]


def _log(axes: Axes, values: Sequence[float]) -> None:
    if spans(values, WIDE):
        log_axis(axes.yaxis, values)
