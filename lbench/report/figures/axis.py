"""Test error against a setting, beside what papers print; and all cells in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.report.figures.figure import FAINT, PANELS, PAPER, Figure, legend, look, panels
from lbench.report.figures.series import Scale, check_axis, ends, places, scale
from lbench.report.lines import Line, called, groups
from lbench.report.published import Published, load
from lbench.report.verdict import verdict
from lbench.study.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 40
"""Cells in one panel of ``bars``."""


def lines(results: Results, axis: str) -> list[Figure]:
    """Test error against a setting: a panel a dataset and network, a line an arm.

    Cells without the setting are levels across the panel; numbers of papers are open markers.
    """
    check_axis(results, axis, "lines")
    points = [final.point for final in results.finals]
    found = {
        place: {
            name: mine
            for name, mine in _series(cells, axis, points).items()
            if any(line.row.test for line in mine)
        }
        for place, cells in places(groups(results)).items()
    }
    found = {place: series for place, series in found.items() if series}
    if not found:
        return []
    names = list(dict.fromkeys(name for series in found.values() for name in series))
    looks = {name: look(index) for index, name in enumerate(names)}
    picture, axes = panels(min(len(found), PANELS), height=3.4)
    data: list[dict[str, Any]] = []
    kept: list[Axes] = []
    for number, (place, series) in enumerate(found.items()):
        values = [
            value
            for mine in series.values()
            for line in mine
            if (value := line.final.point.settings.get(axis)) is not None
        ]
        where = scale(values)
        data += _rows(place, axis, series)
        papers = _papers(series, axis)
        data += _paper_rows(place, axis, papers)
        if number < len(axes):
            _panel(axes[number], where, axis, series, looks)
            _published(axes[number], where, papers, len(names))
            axes[number].set_title(place)
            kept.append(axes[number])
    for each in kept:
        each.set_ylabel("test error (%)")
    legend(picture, kept)
    caption = (
        "Mean over seeds with its 95 % t interval; of one seed the Wilson interval of the test "
        "set. Cells without the setting are level lines."
    )
    if any(row["source"] for row in data):
        caption += " Open markers: published, of another network, as its paper prints it."
    return [Figure(f"lines-{_file(axis)}", f"Test error against {axis}", caption, picture, data)]


def bars(results: Results, _: str = "") -> list[Figure]:
    """All cells in the order of their test error, the best set filled."""
    found = [group for group in groups(results) if group.known]
    if not found:
        return []
    shown = found[:PANELS]
    rows = max(min(len(group.known), ROWS) for group in shown)
    across = 1 if max(len(line.title) for group in shown for line in group.known) > 28 else 2
    picture, axes = panels(len(shown), across=across, height=0.9 + 0.22 * rows)
    data: list[dict[str, Any]] = []
    left_out = 0
    for number, group in enumerate(found):
        judged = verdict(group)
        order = sorted(group.known, key=lambda line: line.row.test.mean if line.row.test else 0.0)
        data += [
            {**_point(group.title, line.title, line), "best_set": line in judged.best}
            for line in order
        ]
        if number >= len(axes):
            continue
        left_out += len(order[ROWS:])
        for at, line in enumerate(order[:ROWS]):
            _bar(axes[number], at, line, best=line in judged.best)
        axes[number].set_yticks(range(len(order[:ROWS])), [line.title for line in order[:ROWS]])
        axes[number].set_ylim(len(order[:ROWS]) - 0.4, -0.6)
        axes[number].set_xlabel("test error (%)")
        axes[number].set_title(group.title)
    caption = (
        "Filled: the statistically best set. Thick bar: 95 % t interval over seeds; thin grey "
        "bar: Wilson interval of the test set alone."
    )
    if left_out:
        caption += f" {left_out} cells of larger error are in the data alone."
    return [Figure("bars", "Test error of all cells", caption, picture, data)]


def _series(cells: Sequence[Line], axis: str, points: Sequence[Any]) -> dict[str, list[Line]]:
    series: dict[str, list[Line]] = {}
    for line in cells:
        series.setdefault(called(line.final.point, points, without=(axis,)), []).append(line)
    return series


def _panel(
    axes: Axes, where: Scale, axis: str, series: Mapping[str, Sequence[Line]], looks: Any
) -> None:
    for name, mine in series.items():
        known = [line for line in mine if line.row.test]
        placed = [line for line in known if line.final.point.settings.get(axis) is not None]
        for line in [line for line in known if line not in placed][:1]:
            _level(axes, line, name, looks[name])
        placed.sort(key=lambda line: where.at(line.final.point.settings[axis]))
        if not placed:
            continue
        at = [where.at(line.final.point.settings[axis]) for line in placed]
        axes.plot(at, [_mean(line) for line in placed], label=name, **looks[name])
        bands = [ends(line) or (_mean(line), _mean(line)) for line in placed]
        low, high = zip(*bands, strict=True)
        axes.fill_between(at, low, high, color=looks[name]["color"], alpha=0.15, linewidth=0)
    where.dress(axes, axis)


def _level(axes: Axes, line: Line, name: str, look: Mapping[str, Any]) -> None:
    axes.axhline(_mean(line), color=look["color"], linestyle=look["linestyle"], label=name)
    if (band := ends(line)) is not None:
        axes.axhspan(*band, color=look["color"], alpha=0.1, linewidth=0)


def _papers(
    series: Mapping[str, Sequence[Line]], axis: str
) -> dict[tuple[str, str], list[tuple[float, Published]]]:
    """Published numbers that differ in this setting alone, by rule and network."""
    cells = {
        (line.row.cell.rule, line.row.cell.dataset) for mine in series.values() for line in mine
    }
    found: dict[tuple[str, str], list[tuple[float, Published]]] = {}
    for row in load():
        match = re.fullmatch(rf"{re.escape(axis)}=([\d.]+)", row.setting)
        if match and (row.rule, row.dataset) in cells:
            key = (row.rule, f"{row.network}, {row.source}")
            found.setdefault(key, []).append((float(match[1]), row))
    return {key: sorted(rows, key=lambda r: r[0]) for key, rows in found.items() if len(rows) > 2}


def _published(axes: Axes, where: Scale, papers: Mapping[Any, Any], first: int) -> None:
    if not where.numbers:
        return
    for index, ((rule, network), rows) in enumerate(papers.items(), start=first):
        style = look(index)
        axes.plot(
            [value for value, _ in rows],
            [row.test_error for _, row in rows],
            linestyle="none", marker=style["marker"], markerfacecolor=PAPER,
            markeredgecolor=style["color"],
            label=f"{rule} published ({network.partition(',')[0]}, other network)",
        )  # fmt: skip


def _bar(axes: Axes, at: int, line: Line, *, best: bool) -> None:
    if line.sampling is not None:
        axes.plot(line.sampling, [at, at], color=FAINT, linewidth=1.0)
    test = line.row.test
    if test is None:
        return
    colour = look(0)["color"]
    if test.low is not None and test.high is not None:
        axes.plot([max(0.0, test.low), test.high], [at, at], color=colour, linewidth=3, alpha=0.5)
    axes.plot(
        [test.mean], [at], "o", color=colour, markerfacecolor=colour if best else PAPER, zorder=3
    )


def _rows(place: str, axis: str, series: Mapping[str, Sequence[Line]]) -> list[dict[str, Any]]:
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


def _file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
