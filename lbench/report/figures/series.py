"""What figures need of a study's cells: places on an axis, intervals, epoch_logs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbench.errors import UsageError
from lbench.report.figures.figure import log_axis, logarithmic
from lbench.report.lines import Group, Line
from lbench.report.table import text
from lbench.rundir import RunDir
from lbench.studies.results import Final, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WRITTEN = 8
"""Values up to which each has a tick on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the values of a setting stand on an axis.

    Args:
        values: each once, in order.
        numbers: whether they are placed by their size; otherwise one after the other.
        log: whether on a logarithmic axis.
    """

    values: Sequence[Any]
    numbers: bool
    log: bool

    def at(self, value: Any) -> float:
        """The place of a value."""
        return float(value) if self.numbers else float(self.values.index(value))

    def dress(self, axes: Axes, name: str) -> None:
        """Gives the x-axis its label, its scale and its ticks."""
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
    """Numbers by their size, on a logarithmic axis where they span decades; others in order."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        found.sort()
        if found and min(found) > 0:
            return Scale(found, True, logarithmic(found) or _geometric(found))
        # Zero has no place on a logarithmic axis, and no neighbours on a plain one.
        above = [value for value in found if value > 0]
        return Scale(found, not logarithmic(above), False)
    return Scale(found, False, False)


def _geometric(values: Sequence[float]) -> bool:
    """Whether neighbours have about the same ratio, as in 2, 4, 8, 16."""
    steps = [math.log(after / before) for before, after in itertools.pairwise(values)]
    return len(steps) > 2 and min(steps) > 0.3 and max(steps) < 1.6 * min(steps)


def check_axis(results: Results, axis: str, figure: str) -> None:
    """That some point has the axis.

    Raises:
        UsageError: none has; says which there are.
    """
    points = [final.point for final in results.finals] + list(results.missing)
    known = dict.fromkeys(name for point in points for name in point.settings)
    if points and axis not in known:
        raise UsageError(
            f"The figure {figure}:{axis} needs a setting of the study, and {axis!r} is none.",
            f"Settings of the study: {', '.join(known) or 'none'}.",
        )


def places(found: Iterable[Group]) -> dict[str, list[Line]]:
    """Lines by dataset and network, whatever the task: the panels of a figure."""
    by_place: dict[str, list[Line]] = {}
    for group in found:
        by_place.setdefault(group.where, []).extend(group.lines)
    return by_place


def ends(line: Line) -> tuple[float, float] | None:
    """The interval over seeds; of one seed what the test set leaves; None of none."""
    test = line.row.test
    if test is not None and test.low is not None and test.high is not None:
        return test.low, test.high
    return line.sampling


def epoch_logs(final: Final) -> dict[int, list[dict[str, Any]]]:
    """The epochs of a cell's finished runs, by seed."""
    return {
        run.seed: RunDir(run.run_dir).epochs() for run in final.runs if run.status == "finished"
    }
