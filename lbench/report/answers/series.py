"""Cells along an axis: what the answers about one setting are worked out from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lbench.report.lines import Line, called, groups, of_task
from lbench.report.table import text
from lbench.study.results import Results


@dataclass(frozen=True, slots=True)
class Series:
    """Cells that differ in one setting.

    Args:
        axis: the setting.
        where: dataset and network in words.
        name: what they have in common.
        values: of the axis, in the study's order.
        lines: one a value; those with a finished seed.
    """

    axis: str
    where: str
    name: str
    values: Sequence[Any]
    lines: Sequence[Line]

    @property
    def title(self) -> str:
        """``lfnn_l on MNIST, mlp-275k``."""
        return f"{self.name} on {self.where}"

    def at(self, line: Line) -> str:
        """The value of the axis at a line, in words."""
        return text(self.values[list(self.lines).index(line)])


def axes(results: Results) -> list[str]:
    """The axes of the study, the one with most values first; those of the task last."""
    values: dict[str, set[str]] = {}
    for final in results.finals:
        for name, each in final.point.values.items():
            values.setdefault(name, set()).add(repr(each))
    return sorted(values, key=lambda name: (of_task(name), -len(values[name])))


def series(results: Results, axis: str) -> list[Series]:
    """The study's cells along an axis, in the order of the plan; series of one cell are none."""
    finals = [final.point for final in results.finals]
    points = [point for point in finals if axis in point.settings]
    found: dict[tuple[str, str], list[Line]] = {}
    for group in groups(results):
        for line in group.known:
            if axis in line.final.point.settings:
                name = called(line.final.point, points, without=(axis,))
                found.setdefault((group.where, name), []).append(line)
    return [
        Series(axis, where, name, [line.final.point.settings[axis] for line in lines], lines)
        for (where, name), lines in found.items()
        if len(lines) > 1
    ]


def span(values: Sequence[Any], tried: Sequence[Any]) -> str:
    """``0.1 ... 0.4, 0.8`` of numbers, neighbours among what was tried together; others listed."""
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in tried):
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
