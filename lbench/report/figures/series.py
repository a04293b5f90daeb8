"""The configurations of a study in a figure: their positions on an axis and their intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbench.errors import UsageError
from lbench.output.table import text
from lbench.report.figures.figure import log_axis, spans
from lbench.report.lines import Line, groups
from lbench.studies.results import StudyData

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WRITTEN = 8
"""Values up to which each has a tick on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The positions of the values of a setting on an axis.

    Args:
        values: the different values, in order.
        numbers: whether positions are the values; otherwise they are 0, 1, 2, ….
        log: whether on a logarithmic axis.
    """

    values: Sequence[Any]
    numbers: bool
    log: bool

    def at(self, value: Any) -> float:
        """Return the position of a value."""
        return float(value) if self.numbers else float(self.values.index(value))

    def dress(self, axes: Axes, name: str) -> None:
        """Set the label, the scale and the ticks of the x-axis."""
        axes.set_xlabel(name)
        if self.log:
            log_axis(axes.xaxis, self.values)
            if len(self.values) <= WRITTEN:
                axes.set_xticks(list(self.values), [text(value) for value in self.values])
        elif not self.numbers:
            labels = [text(value) for value in self.values]
            tilted = sum(map(len, labels)) > 30
            axes.set_xticks(
                range(len(labels)), labels, rotation=30 if tilted else 0,
                ha="right" if tilted else "center",
            )  # fmt: skip


def scale(values: Iterable[Any]) -> Scale:
    """Return the scale of values: numbers by their size, logarithmic where they span decades."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        found.sort()
        if found and min(found) > 0:
            return Scale(found, True, spans(found) or _geometric(found))
        # Zero has no position on a logarithmic axis, and values of other decades crowd beside it.
        above = [value for value in found if value > 0]
        return Scale(found, not spans(above), False)
    return Scale(found, False, False)


def _geometric(values: Sequence[float]) -> bool:
    """Return whether neighbours have about the same ratio, as in 2, 4, 8, 16."""
    steps = [math.log(after / before) for before, after in itertools.pairwise(values)]
    return len(steps) > 2 and min(steps) > 0.3 and max(steps) < 1.6 * min(steps)


def check_axis(results: StudyData, axis: str) -> None:
    """Check that some point of the study has the axis.

    Raises:
        UsageError: none has; the message lists the settings that there are.
    """
    points = [final.point for final in results.finals] + list(results.missing)
    known = dict.fromkeys(name for point in points for name in point.settings)
    if points and axis not in known:
        raise UsageError(
            f"The figure lines:{axis} needs a setting of the study, and {axis!r} is none.",
            f"Settings of the study: {', '.join(known) or 'none'}.",
        )


def by_setup(results: StudyData) -> dict[str, list[Line]]:
    """Return lines by dataset and network, whatever the task: the panels of a figure."""
    setups: dict[str, list[Line]] = {}
    for group in groups(results):
        setups.setdefault(group.where, []).extend(group.lines)
    return setups


def ends(line: Line) -> tuple[float, float] | None:
    """Return the interval over seeds; with one seed that of the test set; None without a seed."""
    test = line.row.test
    if test is not None and test.low is not None and test.high is not None:
        return test.low, test.high
    return line.sampling
