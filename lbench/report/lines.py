"""A study's cells as lines of tables, in groups within which they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.report.compare import Row, rows
from lbench.report.table import between, percent
from lbench.report.table import settings as shown
from lbench.statistics.intervals import binomial
from lbench.studies.definition import Point
from lbench.studies.results import Final, Results
from lbench.studies.settings import EQUAL, TASK


@dataclass(frozen=True, slots=True)
class Line:
    """A cell of a study.

    Args:
        final: where it stands in the study, with its runs.
        row: its numbers, as ``lbench compare`` has them.
        name: what tables call it: the arm's name, or the rule.
        settings: what the study sets there and not everywhere in the study, in words.
        task: settings of task, network and data that are not the same in the whole study.
        wanted: seeds that the study asks for.
        sampling: Wilson interval of the mean test error, what the size of the test set leaves.
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
        """Name and settings: ``lfnn_l leadership=0.3``."""
        return " ".join(part for part in (self.name, self.settings) if part)

    @property
    def whole(self) -> str:
        """The title with the task: ``lfnn_l leadership=0.3 examples=600``."""
        return " ".join(part for part in (self.title, self.task) if part)

    @property
    def seeds(self) -> str:
        """``9 of 10``: finished, of those that the study asks for."""
        return f"{len(self.row.errors)} of {self.wanted}"


@dataclass(frozen=True, slots=True)
class Group:
    """Cells of one dataset and network, with the same task: what may be compared.

    Args:
        dataset: its name.
        network: its name.
        task: settings of task, network and data that the study gives.
        told: those of them that are not the same in the whole study: ``examples=600``.
        where: dataset and network in words.
        lines: in the order of the plan.
    """

    dataset: str
    network: str
    task: Mapping[str, Any]
    told: str
    where: str
    lines: Sequence[Line]

    @property
    def title(self) -> str:
        """All of it in words."""
        return ", ".join(part for part in (self.where, self.told) if part)

    @property
    def known(self) -> list[Line]:
        """The lines with a finished seed."""
        return [line for line in self.lines if line.row.test is not None]


def groups(results: Results) -> list[Group]:
    """The study's cells in groups, in the order of the plan; cells without any run are left out."""
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
    """Whether a setting makes another task or network, rather than another way to train."""
    return name in (*TASK, EQUAL) or name.startswith(("net.", "data."))


def called(point: Point, others: Iterable[Point], *, without: Iterable[str] = ()) -> str:
    """A point's name with its settings that are not the same at all ``others``."""
    name, words = _words(point, _varying(list(others)), set(without))
    return f"{name} {words}".strip()


def placed(point: Point, others: Iterable[Point]) -> str:
    """What it is called where others stand too: ``bp, mnist``, with the network if they differ."""
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
    told = point.values if point.label else point.settings
    kept = [
        (name, value) for name, value in told.items() if name in varying and name not in without
    ]
    return point.label or point.rule, shown(kept) if kept else ""


def _group(results: Results, finals: Sequence[Final], varying: set[str]) -> Group:
    first = finals[0].point
    task = {name: value for name, value in first.settings.items() if of_task(name)}
    varied = [(name, value) for name, value in task.items() if name in varying]
    told = shown(varied) if varied else ""
    lines = []
    for final, row in zip(finals, rows([(f.cell, f.runs) for f in finals]), strict=True):
        name, settings = _words(final.point, varying, set(task))
        lines.append(_line(results, final, row, name, settings, told))
    where = f"{finals[0].cell.dataset_title}, {first.network}"
    return Group(first.dataset, first.network, task, told, where, lines)


def _line(results: Results, final: Final, row: Row, name: str, settings: str, task: str) -> Line:
    examples = final.cell.test_examples
    return Line(
        final=final,
        row=row,
        name=name,
        settings=settings,
        task=task,
        wanted=max(results.study.seeds, len(final.runs)),
        sampling=binomial(row.test.mean, examples) if row.test and examples else None,
    )
