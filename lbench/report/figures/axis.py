"""Test error against a setting, beside published numbers; and all configurations in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.published.numbers import Published, published_curves
from lbench.registry import registry
from lbench.report.figures.figure import (
    FAINT,
    LINES,
    PANELS,
    PAPER,
    WIDE,
    Figure,
    clipped,
    curve,
    head,
    look,
    panel_figure,
    panels,
)
from lbench.report.figures.series import Scale, by_setup, check_axis, ends, scale
from lbench.report.lines import Line, called, groups
from lbench.report.verdict import SET, verdict
from lbench.studies.results import StudyData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, FEWER = 40, 24
"""Configurations in the only panel of ``bars``, and in each of several panels."""
LEVELS = 3
"""Configurations without the setting in one panel."""
OPEN = ("o", "s", "D", "^", "v")

Series = Mapping[str, Sequence[Line]]
Papers = Mapping[tuple[str, str], Mapping[float, Published]]
"""Published numbers by value of the setting, by rule and network."""


def lines(results: StudyData, axis: str) -> list[Figure]:
    """Draw test error against a setting: a panel per dataset and network, a line per arm.

    Where that would be too many lines, each rule has a panel of its own. Configurations without
    the setting are level lines; published numbers are open markers.
    """
    check_axis(results, axis)
    finals = [final.point for final in results.finals]
    rules = {point.rule for point in finals if axis in point.settings}
    points = [p for p in finals if axis in p.settings or p.rule not in rules]
    shown: dict[str, Series] = {}
    data: list[dict[str, Any]] = []
    for setup, listed in by_setup(results).items():
        series: dict[str, list[Line]] = {}
        for line in listed:
            if line.row.test:
                name = called(line.final.point, points, without=(axis,))
                series.setdefault(name, []).append(line)
        data += _rows(setup, axis, series, _papers(series, axis))
        shown |= _split(setup, series, axis)
    names = list(dict.fromkeys(name for series in shown.values() for name in series))
    looks = {name: look(index) for index, name in enumerate(names)}

    def draw(axes: Axes, series: Series) -> None:
        values = [_value(line, axis) for listed in series.values() for line in listed]
        positions = scale([value for value in values if value is not None])
        _panel(axes, positions, axis, series, looks)
        if positions.numbers:
            _published(axes, _papers(series, axis), series, looks)
        axes.set_ylabel("test error (%)")

    caption = (
        "Mean over seeds with its 95 % interval; with one seed the Wilson interval of the test "
        "set. Level lines: configurations without the setting."
    )
    if any(row["source"] for row in data):
        caption += " Open markers: published numbers of another network, as printed in the paper."
    name = re.sub(r"[^\w.-]+", "-", axis)
    title = f"Test error against {axis}"
    return panel_figure(
        f"lines-{name}", title, caption, list(shown.items()), draw, data, height=3.4
    )


def bars(results: StudyData, _: str = "") -> list[Figure]:
    """Draw all configurations in the order of their test error, those of the best set filled."""
    known = [group for group in groups(results) if group.known]
    if not known:
        return []
    shown = known[:PANELS]
    most = ROWS if len(shown) == 1 else FEWER
    rows = max(min(len(group.known), most) for group in shown)
    longest = max(len(line.title) for group in shown for line in group.known)
    across = 1 if longest > 28 else 2
    picture, axes = panels(len(shown), across=across, height=0.9 + 0.22 * rows)
    if longest > 40:
        picture.set_figwidth(WIDE)
    data: list[dict[str, Any]] = []
    left = 0
    for number, group in enumerate(known):
        best = verdict(group.lines).best
        order = sorted(group.known, key=lambda line: line.error)
        data += [{**_point(group.title, line.title, line), "best_set": line in best}
                 for line in order]  # fmt: skip
        if number < len(axes):
            left += len(order[most:])
            _bars(axes[number], order[:most], best)
            head(axes[number], group.title)
    caption = (
        f"Filled: {SET}. Thick bar: 95 % interval over seeds; thin grey "
        "bar: Wilson interval of the test set alone."
    )
    if left:
        caption += f" {left} configurations of larger error are in the data alone."
    if len(known) > len(axes):
        caption += f" So are {len(known) - len(axes)} more panels."
    return [Figure("bars", "Test error of all configurations", caption, picture, data)]


def _split(setup: str, series: Series, axis: str) -> dict[str, Series]:
    """Return the series of one panel, or of one per rule where there are too many lines."""
    along = {
        name: listed
        for name, listed in series.items()
        if any(_value(line, axis) is not None for line in listed)
    }
    if not along:
        return {}
    levels = _levels(series, along)
    if len(along) <= LINES:
        return {setup: {**along, **levels}}
    by_rule: dict[str, dict[str, Sequence[Line]]] = {}
    for name, listed in along.items():
        by_rule.setdefault(listed[0].name, {})[name] = listed
    return {
        f"{rule}, {setup}": {**dict(list(listed.items())[:LINES]), **levels}
        for rule, listed in by_rule.items()
    }


def _levels(series: Series, along: Series) -> Series:
    """Return at most :data:`LEVELS` configurations without the setting."""
    rules = {listed[0].name for listed in along.values()}
    # A configuration of such a rule without the setting belongs to another question of the study.
    levels = {n: m for n, m in series.items() if n not in along and m[0].name not in rules}
    if len(levels) <= LEVELS:
        return levels
    # The first is the study's control; the reference rule is the usual baseline.
    lowest = min(levels, key=lambda name: levels[name][0].error)
    rule = registry().reference("rules")
    references = [name for name, listed in levels.items() if listed[0].row.cell.rule == rule]
    shown = dict.fromkeys([next(iter(levels)), lowest, *references][:LEVELS])
    return {name: listed for name, listed in levels.items() if name in shown}


def _panel(axes: Axes, positions: Scale, axis: str, series: Series, looks: Any) -> None:
    for name, listed in series.items():
        along = [line for line in listed if _value(line, axis) is not None]
        for line in [line for line in listed if line not in along][:1]:
            _level(axes, line, name, looks[name])
        along.sort(key=lambda line: positions.at(_value(line, axis)))
        if along:
            points = [
                (positions.at(_value(line, axis)), line.error, *(ends(line) or (line.error,) * 2))
                for line in along
            ]
            curve(axes, points, name, looks[name])
    positions.dress(axes, axis)


def _level(axes: Axes, line: Line, name: str, look: Mapping[str, Any]) -> None:
    style = {"color": look["color"], "linestyle": look["linestyle"]}
    axes.axhline(line.error, label=clipped(name), **style)
    if (band := ends(line)) is not None:
        axes.axhspan(*band, color=look["color"], alpha=0.1, linewidth=0)


def _papers(series: Series, axis: str) -> Papers:
    """Return published numbers that differ in this setting alone, by rule and network."""
    cells = [line.row.cell for listed in series.values() for line in listed]
    return {
        (rule, network): curve
        for rule, dataset in dict.fromkeys((cell.rule, cell.dataset) for cell in cells)
        for network, curve in published_curves(rule, dataset, axis).items()
    }


def _published(axes: Axes, papers: Papers, series: Series, looks: Any) -> None:
    """Draw published numbers in the colour of the rule's own line, with a marker per network."""
    colours: dict[str, str] = {}
    for name, listed in series.items():
        colours.setdefault(listed[0].row.cell.rule, looks[name]["color"])
    networks = list(dict.fromkeys(network for _, network in papers))
    for (rule, network), rows in papers.items():
        axes.plot(
            list(rows), [row.test_error for row in rows.values()],
            linestyle="none", marker=OPEN[networks.index(network) % len(OPEN)],
            markerfacecolor=PAPER, markeredgecolor=colours[rule],
            label=f"{rule} published (other network, {network.partition(',')[0]})",
        )  # fmt: skip


def _bars(axes: Axes, order: Sequence[Line], best: Sequence[Line]) -> None:
    colour = look(0)["color"]
    for at, line in enumerate(order):
        if line.sampling is not None:
            axes.plot(line.sampling, [at, at], color=FAINT, linewidth=1.0)
        test = line.row.test
        if test is None:
            continue
        if test.low is not None and test.high is not None:
            axes.plot([test.low, test.high], [at, at], color=colour, linewidth=3, alpha=0.5)
        filling = colour if line in best else PAPER
        axes.plot([test.mean], [at], "o", color=colour, markerfacecolor=filling, zorder=3)
    names = [clipped(line.title) for line in order]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("test error (%)")


def _rows(setup: str, axis: str, series: Series, papers: Papers) -> list[dict[str, Any]]:
    ours = [
        {axis: line.final.point.settings.get(axis), **_point(setup, name, line), "source": ""}
        for name, listed in series.items()
        for line in listed
    ]
    theirs = [
        {
            axis: value,
            "panel": setup,
            "series": f"{rule} published",
            "test_error": row.test_error,
            "source": network,
        }
        for (rule, network), rows in papers.items()
        for value, row in rows.items()
    ]
    return ours + theirs


def _point(setup: str, name: str, line: Line) -> dict[str, Any]:
    test, sampling = line.row.test, line.sampling or (None, None)
    return {
        "panel": setup,
        "series": name,
        "test_error": test.mean if test else None,
        "low": test.low if test else None,
        "high": test.high if test else None,
        "sampling_low": sampling[0],
        "sampling_high": sampling[1],
        "seeds": test.n if test else 0,
        "cell": line.row.cell.cell_id,
    }


def _value(line: Line, axis: str) -> Any:
    return line.final.point.settings.get(axis)
