"""The configurations of a study as lines of tables, in groups that can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.output.table import between, percent
from lbench.output.table import settings as shown
from lbench.report.compare.row import Row, rows
from lbench.statistics.intervals import binomial
from lbench.studies.definition import Point
from lbench.studies.results import Final, StudyData
from lbench.studies.settings import EQUAL, TASK


@dataclass(frozen=True, slots=True)
class Line:
    """A configuration of a study.

    Args:
        final: its point of the study, with its runs.
        row: its numbers, as in ``lbench compare``.
        name: its name in tables: the name of the arm, or the rule.
        settings: its settings that differ within the study, as text.
        task: settings of task, network and data that differ within the study, as text.
        wanted: number of seeds of the study.
        sampling: Wilson interval of the mean test error, for the size of the test set.
    """

    final: Final
    row: Row
    name: str
    settings: str
    task: str
    wanted: int
    sampling: tuple[float, float] | None

    @property
    def title(self) -> str:
        """Return name and settings: ``lfnn_l leadership=0.3``."""
        return " ".join(part for part in (self.name, self.settings) if part)

    @property
    def whole(self) -> str:
        """Return the title with the task: ``lfnn_l leadership=0.3 examples=600``."""
        return " ".join(part for part in (self.title, self.task) if part)

    @property
    def error(self) -> float:
        """Return the mean test error, percent; infinite without a finished seed."""
        return self.row.test.mean if self.row.test else math.inf

    @property
    def seeds(self) -> str:
        """Return the number of finished seeds and of the study's seeds: ``9 of 10``."""
        return f"{len(self.row.errors)} of {self.wanted}"


@dataclass(frozen=True, slots=True)
class Group:
    """Configurations of one dataset and network with the same task, which can be compared.

    Args:
        dataset: name of the dataset.
        network: name of the network.
        task: settings of task, network and data in the study.
        task_text: the settings of the task that differ within the study, as text: ``examples=600``.
        where: dataset and network as text.
        lines: the configurations, in the order of the plan.
    """

    dataset: str
    network: str
    task: Mapping[str, Any]
    task_text: str
    where: str
    lines: Sequence[Line]

    @property
    def title(self) -> str:
        """Return dataset, network and differing settings of the task as text."""
        return ", ".join(part for part in (self.where, self.task_text) if part)

    @property
    def known(self) -> list[Line]:
        """Return the lines with a finished seed."""
        return [line for line in self.lines if line.row.test is not None]


def groups(results: StudyData) -> list[Group]:
    """Return the configurations with runs in groups, in the order of the plan."""
    together: dict[Any, list[Final]] = {}
    for final in results.finals:
        together.setdefault(_key(final.point), []).append(final)
    varying = _varying([final.point for final in results.finals])
    return [_group(results, finals, varying) for finals in together.values()]


def error_of(line: Line) -> str:
    """Return ``2.10 % [1.90, 2.30], 3 of 3 seeds``; of one seed the test set's interval."""
    test = line.row.test
    if test is None:
        return "no finished run"
    if test.low is not None and test.high is not None:
        ends = f" {between(test.low, test.high)}"
    elif line.sampling:
        ends = f" {between(*line.sampling)[:-1]} by the test set's size alone]"
    else:
        ends = ""
    return f"{percent(test.mean)} %{ends}, {line.seeds} seeds"


def of_task(name: str) -> bool:
    """Return whether a setting belongs to task, network or data, and not to the training."""
    return name in (*TASK, EQUAL) or name.startswith(("net.", "data."))


def called(point: Point, others: Iterable[Point], *, without: Iterable[str] = ()) -> str:
    """Return a point's name with its settings that differ among all ``others``."""
    name, words = _words(point, _varying(list(others)), set(without))
    return f"{name} {words}".strip()


def placed(point: Point, others: Iterable[Point]) -> str:
    """Return a point's name with its dataset, ``bp, mnist``, and the network if these differ."""
    among = list(others)
    name = f"{called(point, among)}, {point.dataset}"
    several = len({other.network for other in among}) > 1
    return f"{name}, {point.network}" if several else name


def _key(point: Point) -> Any:
    task = {name: value for name, value in point.settings.items() if of_task(name)}
    return point.dataset, point.network, repr(sorted(task.items()))


def _varying(points: Sequence[Point]) -> set[str]:
    names = dict.fromkeys(name for point in points for name in point.settings)
    return {name for name in names if len({repr(point.settings.get(name)) for point in points}) > 1}


def _words(point: Point, varying: set[str], without: set[str]) -> tuple[str, str]:
    # An arm with a name has its own settings in that name.
    settings = point.values if point.label else point.settings
    named = varying - without
    return point.label or point.rule, _text({n: v for n, v in settings.items() if n in named})


def _text(settings: Mapping[str, Any]) -> str:
    return shown(settings.items()) if settings else ""


def _group(results: StudyData, finals: Sequence[Final], varying: set[str]) -> Group:
    first = finals[0].point
    task = {name: value for name, value in first.settings.items() if of_task(name)}
    task_text = _text({name: value for name, value in task.items() if name in varying})
    lines = []
    for final, row in zip(finals, rows([(f.cell, f.runs) for f in finals]), strict=True):
        examples = final.cell.test_examples
        sampling = binomial(row.test.mean, examples) if row.test and examples else None
        wanted = max(results.study.seeds, len(final.runs))
        words = _words(final.point, varying, set(task))
        lines.append(Line(final, row, *words, task_text, wanted, sampling))
    where = f"{finals[0].cell.dataset_title}, {first.network}"
    return Group(first.dataset, first.network, task, task_text, where, lines)
