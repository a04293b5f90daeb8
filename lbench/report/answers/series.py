"""Configurations along an axis, for the answers about one setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbench.output.table import text
from lbench.report.compare.row import mean
from lbench.report.differences import Difference
from lbench.report.lines import Group, Line, called, groups, of_task
from lbench.report.verdict import differences
from lbench.studies.definition import Point
from lbench.studies.results import StudyData


@dataclass(frozen=True, slots=True)
class Series:
    """Configurations that differ in one setting.

    Args:
        axis: the setting.
        where: dataset and network in words.
        name: what they have in common.
        values: of the axis, in the study's order.
        lines: one per value, with a finished seed.
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
        """Return ``lfnn_l on MNIST, mlp-275k``."""
        return f"{self.name} on {self.where}"

    @property
    def smaller(self) -> list[Any]:
        """Return the missing values below all others; none where values are not numbers."""
        if not numbers([*self.values, *self.missing]):
            return []
        return [value for value in self.missing if value < min(self.values)]

    @property
    def test_errors(self) -> list[float | None]:
        """Return the mean test error at each value, percent."""
        return [mean(line.row.test) for line in self.lines]

    def differences(self, margin: float | None = None) -> list[Difference]:
        """Return the test error at each further value minus that at the first; p by Holm.

        Args:
            margin: differences within it count as equal, in points; None for no such test.
        """
        return differences(self.lines, self.lines[0], margin)


def axes(results: StudyData) -> list[str]:
    """Return the settings that have several values, in the order of the study's file.

    Those that make another task or network come last. Points that are not trained yet count too.
    """
    points = _points(results)
    values: dict[str, set[str]] = {}
    for point in points:
        for name, value in point.values.items():
            values.setdefault(name, set()).add(repr(value))
    listed = dict.fromkeys(name for arm in results.study.arms for name in arm.axes)
    names = [name for name in listed | values if len(values.get(name, ())) > 1]
    return sorted(names, key=of_task)


def along(results: StudyData, number: int = 0) -> list[Series]:
    """Return the series along an axis by its number; none where there are fewer axes."""
    names = axes(results)
    return series(results, names[number]) if len(names) > number else []


def series(results: StudyData, axis: str) -> list[Series]:
    """Return configurations along an axis in the order of the plan, at least two per series."""
    finals = [final.point for final in results.finals]
    points = [point for point in finals if axis in point.settings]
    found: dict[str, list[tuple[Group, Line]]] = {}
    for group in groups(results):
        for line in group.known:
            if axis in line.final.point.settings:
                found.setdefault(_rest(line.final.point, axis), []).append((group, line))
    planned: dict[str, list[Any]] = {}
    for point in _points(results):
        if axis in point.settings:
            planned.setdefault(_rest(point, axis), []).append(point.settings[axis])
    made = []
    for key, cells in found.items():
        if len(cells) > 1:
            group, first = cells[0]
            values = [line.final.point.settings[axis] for _, line in cells]
            name = called(first.final.point, points, without=(axis,))
            missing = [value for value in planned[key] if value not in values]
            lines = [line for _, line in cells]
            made.append(Series(axis, group.where, name, values, lines, missing))
    return made


def ascending(entry: Series) -> Series:
    """Return the series from the smallest value to the largest; unchanged without numbers."""
    if not numbers([*entry.values, *entry.missing]):
        return entry
    order = sorted(range(len(entry.values)), key=lambda at: entry.values[at])
    return replace(
        entry,
        values=[entry.values[at] for at in order],
        lines=[entry.lines[at] for at in order],
        missing=sorted(entry.missing),
    )


def _points(results: StudyData) -> list[Point]:
    """Return all points of the study, trained or not."""
    return [*(final.point for final in results.finals), *results.missing]


def _rest(point: Point, axis: str) -> str:
    """Return what the configurations of a series have in common."""
    others = {name: value for name, value in point.settings.items() if name != axis}
    return repr((point.dataset, point.network, point.label or point.rule, sorted(others.items())))


def span(values: Sequence[Any], tried: Sequence[Any]) -> str:
    """Return ``0.1 ... 0.4, 0.8``: numbers that are neighbours in ``tried`` are joined."""
    if not numbers(tried):
        return ", ".join(text(value) for value in values)
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


def numbers(values: Sequence[Any]) -> bool:
    """Return whether all values are numbers."""
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def value_at(entry: Series, line: Line) -> str:
    """Return the value of the axis at a line, as text."""
    return text(entry.values[list(entry.lines).index(line)])
