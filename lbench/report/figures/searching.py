"""How a search went: every trial, the best so far, what mattered, and one setting alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lbench.errors import UsageError
from lbench.quantities import QUANTITIES
from lbench.report.figures.figure import (
    COLOURS,
    INK,
    LINES,
    PANELS,
    PAPER,
    Figure,
    clipped,
    few,
    head,
    legend,
    log_axis,
    look,
    panels,
)
from lbench.report.figures.series import scale
from lbench.report.lines import called, placed
from lbench.report.searches import best_so_far, value, within
from lbench.studies.definition import Point, Span
from lbench.studies.results import Results, SearchResult, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OBJECTIVES = {q.key: q.axis_label for q in QUANTITIES if q.objective} | {"params": "parameters"}
"""What axes call the objectives."""


def history(results: Results, _: str = "") -> list[Figure]:
    """Every trial of each search by its number: complete, pruned, failed; and the best so far."""
    found = [search for search in results.searches if search.trials]
    if not found:
        return []
    points = _points(results)
    picture, axes = panels(min(len(found), PANELS), height=2.9)
    for each, search in zip(axes, found, strict=False):
        _trials(each, search)
        head(each, placed(search.point, points))
        each.set_xlabel("trial")
        each.set_ylabel(OBJECTIVES[search.objectives[0]])
    legend(picture, axes)
    caption = "Pruned trials stand at their last validation error, failed ones at the upper edge."
    data = [row for search in found for row in _rows(search, points)]
    return [Figure("history", "Trials of each search", caption + _more(found), picture, data)]


def tuning(results: Results, _: str = "") -> list[Figure]:
    """The best so far of all searches of a dataset in one panel: what tuning was worth."""
    by_place: dict[str, list[SearchResult]] = {}
    for search in results.searches:
        if best_so_far(search):
            place = f"{search.point.dataset}, {search.point.network}"
            by_place.setdefault(place, []).append(search)
    if not by_place:
        return []
    points = _points(results)
    shown = {
        place: [
            called(search.point, points)
            for search in few(searches, lambda search: best_so_far(search)[-1][1])
        ]
        for place, searches in by_place.items()
    }
    names = list(dict.fromkeys(name for mine in shown.values() for name in mine))
    picture, axes = panels(min(len(by_place), PANELS), height=3.4)
    data: list[dict[str, Any]] = []
    for number, (place, searches) in enumerate(by_place.items()):
        values = []
        for search in searches:
            name, steps = called(search.point, points), best_so_far(search)
            last = max(trial.number for trial in search.trials)
            at = [*(number + 1 for number, _ in steps), last + 1]
            lowest = [*(best for _, best in steps), steps[-1][1]]
            data += [
                {"panel": place, "series": name, "trials": n + 1, "best_so_far": best}
                for n, best in steps
            ]
            if number < len(axes) and name in shown[place]:
                values += lowest
                style = {**look(names.index(name)), "marker": "none"}
                axes[number].step(at, lowest, where="post", label=clipped(name), **style)
        if number < len(axes):
            head(axes[number], place)
            axes[number].set_xlabel("trials")
            axes[number].set_ylabel(f"best so far, {OBJECTIVES[searches[0].objectives[0]]}")
            _log(axes[number], values)
    legend(picture, axes)
    caption = "The lowest value of a complete trial up to each number of trials, one line a search."
    if left := sum(map(len, by_place.values())) - sum(map(len, shown.values())):
        caption += f" Shown are the {LINES} of lowest value; {left} more are in the data alone."
    return [Figure("best_so_far", "Best so far: the tuning effort", caption, picture, data)]


def importance(results: Results, _: str = "") -> list[Figure]:
    """What share of the trials' spread each setting explains, a panel a search."""
    found = [search for search in results.searches if search.importances]
    if not found:
        return []
    points = _points(results)
    rows = max(len(search.importances) for search in found)
    picture, axes = panels(min(len(found), PANELS), height=1.0 + 0.24 * rows)
    for each, search in zip(axes, found, strict=False):
        order = sorted(search.importances.items(), key=lambda item: item[1])
        each.barh(
            [name for name, _ in order], [100 * share for _, share in order],
            color=COLOURS[0], height=0.6,
        )  # fmt: skip
        each.set_xlim(0, 100)
        each.set_xlabel("importance (%)")
        each.grid(visible=False, axis="y")
        head(each, placed(search.point, points))
    caption = "Of the complete trials, as Optuna estimates it; with few trials a rough guess."
    data = [
        {"search": placed(search.point, points), "setting": name, "importance": share}
        for search in found
        for name, share in search.importances.items()
    ]
    title = "Importance of the settings"
    return [Figure("importance", title, caption + _more(found), picture, data)]


def one_setting(results: Results, setting: str) -> list[Figure]:
    """Value against a setting, a panel a search; the set that cannot be told apart is marked.

    Raises:
        UsageError: no search has that setting; says which there are.
    """
    found = [search for search in results.searches if setting in search.space]
    if not found:
        if not results.searches:
            return []
        known = dict.fromkeys(name for search in results.searches for name in search.space)
        raise UsageError(
            f"The figure slice:{setting} needs a searched setting.",
            f"Searched are: {', '.join(known)}.",
        )
    points = _points(results)
    picture, axes = panels(min(len(found), PANELS), height=2.9)
    for each, search in zip(axes, found, strict=False):
        _slice(each, search, setting)
        head(each, placed(search.point, points))
        each.set_ylabel(OBJECTIVES[search.objectives[0]])
    legend(picture, axes)
    data = [row for search in found for row in _rows(search, points)]
    caption = "Complete trials; filled are those that cannot be told apart from the best."
    title = f"Validation error against {setting}"
    return [Figure(f"slice-{setting}", title, caption + _more(found), picture, data)]


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
    if steps := best_so_far(search):
        last = max(trial.number for trial in search.trials)
        at, lowest = [n for n, _ in steps] + [last], [v for _, v in steps] + [steps[-1][1]]
        axes.step(at, lowest, where="post", color=COLOURS[2], label="best so far")


def _slice(axes: Axes, search: SearchResult, setting: str) -> None:
    domain = search.space[setting]
    known = [
        (trial, v)
        for trial in search.trials
        if (v := value(trial)) is not None and within(domain, trial.params.get(setting))
    ]
    where = scale([trial.params[setting] for trial, _ in known])
    together = {trial.number for trial in search.indistinguishable}
    for inside, label in ((False, "other trials"), (True, "not told apart from the best")):
        mine = [(t, v) for t, v in known if (t.number in together) == inside]
        if mine:
            axes.plot(
                [where.at(t.params[setting]) for t, _ in mine], [v for _, v in mine], "o",
                color=COLOURS[1] if inside else COLOURS[0],
                markerfacecolor=COLOURS[1] if inside else PAPER, label=label,
            )  # fmt: skip
    if search.best is not None and within(domain, search.best.params.get(setting)):
        axes.plot(
            [where.at(search.best.params[setting])], [value(search.best) or 0.0], "*", color=INK,
            markersize=10, label="best",
        )  # fmt: skip
    where.dress(axes, setting)
    if isinstance(domain, Span) and domain.log and not where.log and where.numbers:
        log_axis(axes.xaxis, where.values)
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
            "not_told_apart": trial.number in together,
            **trial.params,
        }
        for trial in search.trials
    ]


def _points(results: Results) -> list[Point]:
    return [search.point for search in results.searches]


def _last(trial: Trial) -> float | None:
    """The last validation error of a trial that was pruned."""
    if trial.state != "pruned" or not trial.intermediate:
        return None
    return trial.intermediate[max(trial.intermediate)]


def _log(axes: Axes, values: Sequence[float]) -> None:
    if values and min(values) > 0 and max(values) / min(values) > 5:
        log_axis(axes.yaxis, values)


def _more(found: Sequence[Any]) -> str:
    left = len(found) - PANELS
    return f" {left} more searches are in the data alone." if left > 0 else ""
