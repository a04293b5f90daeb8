"""The course of a search: its trials, the best so far, importances, and a single setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lbench.errors import UsageError
from lbench.quantities import QUANTITIES
from lbench.report.figures.figure import (
    COLOURS,
    INK,
    PAPER,
    Figure,
    clipped,
    dots,
    few,
    left_out,
    log_axis,
    look,
    panel_figure,
)
from lbench.report.figures.series import scale
from lbench.report.lines import called, placed
from lbench.studies.definition import Span
from lbench.studies.results import SearchResult, StudyData, Trial
from lbench.studies.search_summary import best_so_far, value, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OBJECTIVES = {q.key: q.axis_label for q in QUANTITIES if q.objective} | {"params": "parameters"}
"""The labels of axes with objectives."""
WIDE = 5
"""Ratio of values from which on their axis is logarithmic."""
MORE = "searches"


def history(results: StudyData, _: str = "") -> list[Figure]:
    """Draw the trials of each search by number: complete, pruned, failed; and the best so far."""
    contents = titled(results, lambda search: bool(search.trials))
    caption = "Pruned trials are at their last validation error, failed ones at the upper edge."
    data = [row for title, search in contents for row in _rows(search, title)]
    title = "Trials of each search"
    return panel_figure("history", title, caption, contents, _trials, data, height=2.9, what=MORE)


def tuning(results: StudyData, _: str = "") -> list[Figure]:
    """Draw the best so far of all searches of a dataset in one panel, against the trials."""
    points = [search.point for search in results.searches]
    setups: dict[str, list[tuple[str, SearchResult]]] = {}
    for search in results.searches:
        if best_so_far(search):
            setup = setups.setdefault(f"{search.point.dataset}, {search.point.network}", [])
            setup.append((called(search.point, points), search))
    shown = {
        setup: few(named, lambda pair: best_so_far(pair[1])[-1][1])
        for setup, named in setups.items()
    }
    names = list(dict.fromkeys(name for listed in shown.values() for name, _ in listed))
    data = [
        {"panel": setup, "series": name, "trials": number + 1, "best_so_far": best}
        for setup, named in setups.items()
        for name, search in named
        for number, best in best_so_far(search)
    ]

    def draw(axes: Axes, searches: Sequence[tuple[str, SearchResult]]) -> None:
        values: list[float] = []
        for name, search in searches:
            at, lowest = _steps(search)
            values += lowest
            style = {**look(names.index(name)), "marker": "none"}
            numbers = [number + 1 for number in at]
            axes.step(numbers, lowest, where="post", label=clipped(name), **style)
        axes.set_xlabel("trials")
        axes.set_ylabel(f"best so far, {OBJECTIVES[searches[0][1].objectives[0]]}")
        log_axis(axes.yaxis, values, WIDE)

    caption = (
        "The lowest value of a complete trial up to each number of trials, one line per search."
    )
    count = sum(map(len, setups.values())) - sum(map(len, shown.values()))
    caption += left_out(count, "value")
    title, contents = "Best so far: the tuning effort", list(shown.items())
    return panel_figure("best_so_far", title, caption, contents, draw, data, height=3.4)


def importance(results: StudyData, _: str = "") -> list[Figure]:
    """Draw the share of the trials' variance that each setting explains, a panel per search."""
    contents = titled(results, lambda search: bool(search.importances))
    caption = "Over the complete trials, as estimated by Optuna; a rough guess with few trials."
    data = [
        {"search": title, "setting": name, "importance": share}
        for title, search in contents
        for name, share in search.importances.items()
    ]
    title = "Importance of the settings"
    height = 1.0 + 0.24 * max((len(search.importances) for _, search in contents), default=0)
    return panel_figure(
        "importance", title, caption, contents, _shares, data, height=height, what=MORE
    )


def one_setting(results: StudyData, setting: str) -> list[Figure]:
    """Draw value against a setting, a panel per search, with the set of the best trials marked.

    Raises:
        UsageError: no search has that setting; the message lists the settings that there are.
    """
    contents = titled(results, lambda search: setting in search.space)
    if results.searches and not contents:
        known = dict.fromkeys(name for search in results.searches for name in search.space)
        raise UsageError(
            f"The figure slice:{setting} needs a searched setting.",
            f"Searched are: {', '.join(known)}.",
        )
    data = [row for title, search in contents for row in _rows(search, title)]
    caption = "Complete trials; those that are indistinguishable from the best are filled."

    def draw(axes: Axes, search: SearchResult) -> None:
        _slice(axes, search, setting)
        axes.set_ylabel(OBJECTIVES[search.objectives[0]])

    name, title = f"slice-{setting}", f"Validation error against {setting}"
    return panel_figure(name, title, caption, contents, draw, data, height=2.9, what=MORE)


def titled(
    results: StudyData, shown: Callable[[SearchResult], bool]
) -> list[tuple[str, SearchResult]]:
    """Return the searches that have something to show, each with its title."""
    points = [search.point for search in results.searches]
    return [(placed(s.point, points), s) for s in results.searches if shown(s)]


def _trials(axes: Axes, search: SearchResult) -> None:
    complete = [(t.number, v) for t in search.trials if (v := value(t)) is not None]
    pruned = [(t.number, last) for t in search.trials if (last := _last(t)) is not None]
    failed = [(t.number, 1.0) for t in search.trials if t.state == "fail"]
    dots(axes, complete, "o", color=COLOURS[0], label="complete")
    hollow: dict[str, Any] = {"markerfacecolor": PAPER, "markersize": 4}
    dots(axes, pruned, "s", color=COLOURS[1], label="pruned", **hollow)
    log_axis(axes.yaxis, [v for _, v in complete + pruned], WIDE)
    edge: dict[str, Any] = {"clip_on": False, "transform": axes.get_xaxis_transform()}
    dots(axes, failed, "x", color=INK, label="failed", **edge)
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
        xy = [
            (positions.at(t.params[setting]), v)
            for t, v in known
            if (t.number in together) == inside
        ]
        colour = COLOURS[int(inside)]
        dots(axes, xy, "o", color=colour, markerfacecolor=colour if inside else PAPER, label=label)
    if search.best is not None and within(domain, search.best.params.get(setting)):
        at = positions.at(search.best.params[setting])
        dots(axes, [(at, value(search.best) or 0.0)], "*", color=INK, markersize=10, label="best")
    positions.dress(axes, setting)
    if isinstance(domain, Span) and domain.log and not positions.log and positions.numbers:
        log_axis(axes.xaxis, positions.values)
    log_axis(axes.yaxis, [v for _, v in known], WIDE)


def _rows(search: SearchResult, title: str) -> list[dict[str, Any]]:
    together = {trial.number for trial in search.indistinguishable}
    return [
        {
            "search": title,
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
