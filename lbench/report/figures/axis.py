"""Test error against a setting, beside what papers print; and all cells in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.registry import registry
from lbench.report.figures.figure import (
    FAINT,
    LINES,
    PANELS,
    PAPER,
    WIDE,
    Figure,
    clipped,
    head,
    legend,
    look,
    panels,
)
from lbench.report.figures.series import Scale, check_axis, ends, places, scale
from lbench.report.lines import Line, called, groups
from lbench.report.published import Published, load
from lbench.report.verdict import SET, verdict
from lbench.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, FEWER = 40, 24
"""Cells in a panel of ``bars``: of one alone, and of several."""
LEVELS = 3
"""Cells without the setting in one panel."""
OPEN = ("o", "s", "D", "^", "v")

Series = Mapping[str, Sequence[Line]]
Papers = Mapping[tuple[str, str], Sequence[tuple[float, Published]]]


def lines(results: Results, axis: str) -> list[Figure]:
    """Test error against a setting: a panel a dataset and network, a line an arm.

    Where that would be too many lines each rule has a panel of its own. Cells without the setting
    are levels across the panel; numbers of papers are open markers.
    """
    check_axis(results, axis, "lines")
    finals = [final.point for final in results.finals]
    rules = {point.rule for point in finals if axis in point.settings}
    points = [p for p in finals if axis in p.settings or p.rule not in rules]
    found: dict[str, Series] = {}
    data: list[dict[str, Any]] = []
    for place, cells in places(groups(results)).items():
        every = _series([line for line in cells if line.row.test], axis, points)
        data += [*_rows(place, axis, every), *_paper_rows(place, axis, _papers(every, axis))]
        found |= _split(place, every, axis)
    if not found:
        return []
    names = list(dict.fromkeys(name for series in found.values() for name in series))
    looks = {name: look(index) for index, name in enumerate(names)}
    picture, axes = panels(min(len(found), PANELS), height=3.4)
    for each, (place, series) in zip(axes, found.items(), strict=False):
        values = [_value(line, axis) for mine in series.values() for line in mine]
        where = scale([value for value in values if value is not None])
        _panel(each, where, axis, series, looks)
        _published(each, where, _papers(series, axis), series, looks)
        head(each, place)
        each.set_ylabel("test error (%)")
    legend(picture, axes)
    caption = (
        "Mean over seeds with its 95 % interval; of one seed the Wilson interval of the test "
        "set. Level lines: cells without the setting."
    )
    if any(row["source"] for row in data):
        caption += " Open markers: published, of another network, as its paper prints it."
    if len(found) > len(axes):
        caption += f" {len(found) - len(axes)} more panels are in the data alone."
    return [Figure(f"lines-{_file(axis)}", f"Test error against {axis}", caption, picture, data)]


def bars(results: Results, _: str = "") -> list[Figure]:
    """Draw all cells in the order of their test error, filled as in ``verdict.SET``."""
    found = [group for group in groups(results) if group.known]
    if not found:
        return []
    shown = found[:PANELS]
    most = ROWS if len(shown) == 1 else FEWER
    rows = max(min(len(group.known), most) for group in shown)
    longest = max(len(line.title) for group in shown for line in group.known)
    across = 1 if longest > 28 else 2
    picture, axes = panels(len(shown), across=across, height=0.9 + 0.22 * rows)
    if longest > 40:
        picture.set_figwidth(WIDE)
    data: list[dict[str, Any]] = []
    left_out = 0
    for number, group in enumerate(found):
        judged = verdict(group)
        order = sorted(group.known, key=_mean)
        data += [
            {**_point(group.title, line.title, line), "best_set": line in judged.best}
            for line in order
        ]
        if number >= len(axes):
            continue
        left_out += len(order[most:])
        for at, line in enumerate(order[:most]):
            _bar(axes[number], at, line, best=line in judged.best)
        names = [clipped(line.title) for line in order[:most]]
        axes[number].set_yticks(range(len(names)), names)
        axes[number].set_ylim(len(names) - 0.4, -0.6)
        axes[number].set_xlabel("test error (%)")
        head(axes[number], group.title)
    caption = (
        f"Filled: {SET}. Thick bar: 95 % interval over seeds; thin grey "
        "bar: Wilson interval of the test set alone."
    )
    if left_out:
        caption += f" {left_out} cells of larger error are in the data alone."
    if len(found) > len(axes):
        caption += f" So are {len(found) - len(axes)} more panels."
    return [Figure("bars", "Test error of all cells", caption, picture, data)]


def _series(cells: Sequence[Line], axis: str, points: Sequence[Any]) -> dict[str, list[Line]]:
    series: dict[str, list[Line]] = {}
    for line in cells:
        series.setdefault(called(line.final.point, points, without=(axis,)), []).append(line)
    return series


def _split(place: str, series: Series, axis: str) -> dict[str, Series]:
    """One panel, or one a rule where there are too many lines; levels stay few."""
    along = {
        n: mine for n, mine in series.items() if any(_value(c, axis) is not None for c in mine)
    }
    rules = {mine[0].name for mine in along.values()}
    # A cell of such a rule without the setting is of another question of the same study.
    levels = {n: m for n, m in series.items() if n not in along and m[0].name not in rules}
    if len(levels) > LEVELS:
        # The first is what a study compares with, the reference what everybody does.
        lowest = min(levels, key=lambda name: _mean(levels[name][0]))
        rule = registry().reference("rules")
        references = [name for name, mine in levels.items() if mine[0].row.cell.rule == rule]
        kept = dict.fromkeys([next(iter(levels)), lowest, *references][:LEVELS])
        levels = {name: mine for name, mine in levels.items() if name in kept}
    if not along:
        return {}
    if len(along) <= LINES:
        return {place: {**along, **levels}}
    by_rule: dict[str, dict[str, Sequence[Line]]] = {}
    for name, mine in along.items():
        by_rule.setdefault(mine[0].name, {})[name] = mine
    return {
        f"{rule}, {place}": {**dict(list(mine.items())[:LINES]), **levels}
        for rule, mine in by_rule.items()
    }


def _panel(axes: Axes, where: Scale, axis: str, series: Series, looks: Any) -> None:
    for name, mine in series.items():
        placed = [line for line in mine if _value(line, axis) is not None]
        for line in [line for line in mine if line not in placed][:1]:
            _level(axes, line, name, looks[name])
        placed.sort(key=lambda line: where.at(_value(line, axis)))
        if not placed:
            continue
        at = [where.at(_value(line, axis)) for line in placed]
        axes.plot(at, [_mean(line) for line in placed], label=clipped(name), **looks[name])
        bands = [ends(line) or (_mean(line), _mean(line)) for line in placed]
        low, high = zip(*bands, strict=True)
        axes.fill_between(at, low, high, color=looks[name]["color"], alpha=0.15, linewidth=0)
    where.dress(axes, axis)


def _level(axes: Axes, line: Line, name: str, look: Mapping[str, Any]) -> None:
    style = {"color": look["color"], "linestyle": look["linestyle"]}
    axes.axhline(_mean(line), label=clipped(name), **style)
    if (band := ends(line)) is not None:
        axes.axhspan(*band, color=look["color"], alpha=0.1, linewidth=0)


def _papers(series: Series, axis: str) -> dict[tuple[str, str], list[tuple[float, Published]]]:
    """Published numbers that differ in this setting alone, by rule and network."""
    cells = {(line.row.cell.rule, line.row.cell.dataset) for m in series.values() for line in m}
    found: dict[tuple[str, str], list[tuple[float, Published]]] = {}
    for row in load():
        match = re.fullmatch(rf"{re.escape(axis)}=([\d.]+)", row.setting)
        if match and (row.rule, row.dataset) in cells:
            key = (row.rule, f"{row.network}; {row.source}")
            found.setdefault(key, []).append((float(match[1]), row))
    return {key: sorted(rows, key=lambda r: r[0]) for key, rows in found.items() if len(rows) > 2}


def _published(axes: Axes, where: Scale, papers: Papers, series: Series, looks: Any) -> None:
    """In the colour of the rule's own line; a marker a network."""
    if not where.numbers:
        return
    colours: dict[str, str] = {}
    for name, mine in series.items():
        colours.setdefault(mine[0].row.cell.rule, looks[name]["color"])
    networks = list(dict.fromkeys(network for _, network in papers))
    for (rule, network), rows in papers.items():
        axes.plot(
            [value for value, _ in rows],
            [row.test_error for _, row in rows],
            linestyle="none", marker=OPEN[networks.index(network) % len(OPEN)],
            markerfacecolor=PAPER, markeredgecolor=colours[rule],
            label=f"{rule} published (other network, {network.partition(',')[0]})",
        )  # fmt: skip


def _bar(axes: Axes, at: int, line: Line, *, best: bool) -> None:
    if line.sampling is not None:
        axes.plot(line.sampling, [at, at], color=FAINT, linewidth=1.0)
    test = line.row.test
    if test is None:
        return
    colour = look(0)["color"]
    if test.low is not None and test.high is not None:
        axes.plot([test.low, test.high], [at, at], color=colour, linewidth=3, alpha=0.5)
    axes.plot(
        [test.mean], [at], "o", color=colour, markerfacecolor=colour if best else PAPER, zorder=3
    )


def _rows(place: str, axis: str, series: Series) -> list[dict[str, Any]]:
    return [
        {axis: line.final.point.settings.get(axis), **_point(place, name, line), "source": ""}
        for name, mine in series.items()
        for line in mine
    ]


def _paper_rows(place: str, axis: str, papers: Mapping[Any, Any]) -> list[dict[str, Any]]:
    return [
        {
            axis: value,
            "panel": place,
            "series": f"{rule} published",
            "test_error": row.test_error,
            "source": network,
        }
        for (rule, network), rows in papers.items()
        for value, row in rows
    ]


def _point(place: str, name: str, line: Line) -> dict[str, Any]:
    test = line.row.test
    return {
        "panel": place,
        "series": name,
        "test_error": test.mean if test else None,
        "low": test.low if test else None,
        "high": test.high if test else None,
        "sampling_low": line.sampling[0] if line.sampling else None,
        "sampling_high": line.sampling[1] if line.sampling else None,
        "seeds": test.n if test else 0,
        "cell": line.row.cell.cell_id,
    }


def _mean(line: Line) -> float:
    return line.row.test.mean if line.row.test else float("nan")


def _value(line: Line, axis: str) -> Any:
    return line.final.point.settings.get(axis)


def _file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
