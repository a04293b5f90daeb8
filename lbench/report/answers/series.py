"""Cells along an axis: what the answers about one setting are worked out from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbench.report.lines import Group, Line, called, groups, of_task
from lbench.report.table import text
from lbench.studies.definition import Point
from lbench.studies.results import Results


@dataclass(frozen=True, slots=True)
class Series:
    """Cells that differ in one setting.

    Args:
        axis: the setting.
        where: dataset and network in words.
        name: what they have in common.
        values: of the axis, in the study's order.
        lines: one a value; those with a finished seed.
        missing: further values that the study has there, without a finished seed.
    """

    axis: str
    where: str
    name: str
    values: Sequence[Any]
    lines: Sequence[Line]
    missing: Sequence[Any] = ()

    @property
    def title(self) -> str:
        """``lfnn_l on MNIST, mlp-275k``."""
        return f"{self.name} on {self.where}"

    @property
    def smaller(self) -> list[Any]:
        """Of the missing values those below all others; none where they are no numbers."""
        if not _numbers([*self.values, *self.missing]):
            return []
        return [value for value in self.missing if value < min(self.values)]

    def at(self, line: Line) -> str:
        """The value of the axis at a line, in words."""
        return text(self.values[list(self.lines).index(line)])


def axes(results: Results) -> list[str]:
    """The settings that take several values, in the order of the study's file.

    Those that make another task or network stand behind the others. What has been trained so far
    makes no difference: an axis of points that are missing is one too.
    """
    points = _points(results)
    values: dict[str, set[str]] = {}
    for name, each in ((name, each) for point in points for name, each in point.values.items()):
        values.setdefault(name, set()).add(repr(each))
    listed = dict.fromkeys(name for arm in results.study.arms for name in arm.axes)
    names = [name for name in listed | values if len(values.get(name, ())) > 1]
    return sorted(names, key=of_task)


def series(results: Results, axis: str) -> list[Series]:
    """The study's cells along an axis, in the order of the plan; series of one cell are none."""
    finals = [final.point for final in results.finals]
    points = [point for point in finals if axis in point.settings]
    found: dict[str, list[tuple[Group, Line]]] = {}
    for group in groups(results):
        for line in group.known:
            if axis in line.final.point.settings:
                found.setdefault(_rest(line.final.point, axis), []).append((group, line))
    asked: dict[str, list[Any]] = {}
    for point in _points(results):
        if axis in point.settings:
            asked.setdefault(_rest(point, axis), []).append(point.settings[axis])
    made = []
    for key, cells in found.items():
        if len(cells) > 1:
            group, first = cells[0]
            values = [line.final.point.settings[axis] for _, line in cells]
            name = called(first.final.point, points, without=(axis,))
            missing = [value for value in asked[key] if value not in values]
            lines = [line for _, line in cells]
            made.append(Series(axis, group.where, name, values, lines, missing))
    return made


def ascending(each: Series) -> Series:
    """The same from the smallest value to the largest; values that are no numbers as they are."""
    if not _numbers([*each.values, *each.missing]):
        return each
    order = sorted(range(len(each.values)), key=lambda at: each.values[at])
    return replace(
        each,
        values=[each.values[at] for at in order],
        lines=[each.lines[at] for at in order],
        missing=sorted(each.missing),
    )


def _points(results: Results) -> list[Point]:
    """All of the study's, trained or not."""
    return [*(final.point for final in results.finals), *results.missing]


def _rest(point: Point, axis: str) -> str:
    """What the cells of a series have in common."""
    others = {name: value for name, value in point.settings.items() if name != axis}
    return repr((point.dataset, point.network, point.label or point.rule, sorted(others.items())))


def span(values: Sequence[Any], tried: Sequence[Any]) -> str:
    """``0.1 ... 0.4, 0.8`` of numbers, neighbours among what was tried together; others listed."""
    if not _numbers(tried):
        return ", ".join(text(each) for each in values)
    order = sorted(tried)
    runs: list[list[Any]] = []
    for value in sorted(values):
        if runs and order.index(value) == order.index(runs[-1][-1]) + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(
        f"{text(run[0])} ... {text(run[-1])}" if len(run) > 1 else text(run[0]) for run in runs
    )


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
