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
    points = [final.point for final in results.finals]
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


def span(values: Sequence[Any]) -> str:
    """``0.1 ... 0.4`` of numbers, ``adam, sgd`` of others; a single value as it is."""
    if len(values) > 1 and all(
        isinstance(each, (int, float)) and not isinstance(each, bool) for each in values
    ):
        return f"{text(min(values))} ... {text(max(values))}"
    return ", ".join(text(each) for each in values)
