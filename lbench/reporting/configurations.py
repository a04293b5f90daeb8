"""The configurations of a study for figures and analyses, with the tables of a probe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench.registry import registry
from lbench.report.lines import Group, Line, called, error_of, groups, placed
from lbench.statistics.intervals import Summary
from lbench.studies.results import Final, StudyData

Columns = dict[str, list[Any]]
"""A probe's table: the values of each column, with ``step`` and ``epoch``, row by row."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A line of a study's table: rule, options, recipe, network and task.

    Args:
        group: the configurations that it may be compared with, itself among them.
        line: its numbers in the tables of the report.
        tables: the table of the requested probe by seed, for finished seeds that have one.
    """

    group: Group
    line: Line
    tables: Mapping[int, Columns] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return the id that ``lbench compare`` takes."""
        return self.line.row.cell.cell_id

    @property
    def name(self) -> str:
        """Return the arm's name, or the rule."""
        return self.line.name

    @property
    def rule(self) -> str:
        """Return the name of the rule."""
        return self.line.row.cell.rule

    @property
    def is_reference(self) -> bool:
        """Return whether its rule is the one that reports compare others with."""
        return self.rule == registry().reference("rules")

    @property
    def dataset(self) -> str:
        """Return the name of the dataset."""
        return self.group.dataset

    @property
    def network(self) -> str:
        """Return the name of the network."""
        return self.group.network

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what the study sets, by name, such as ``lr`` or ``net.depth``."""
        return self.line.final.point.settings

    @property
    def title(self) -> str:
        """Return the arm's name, or the rule, with the settings that vary: ``bp lr=0.1``."""
        return self.line.title

    @property
    def full_title(self) -> str:
        """Return the title with the settings of the task that vary."""
        return self.line.whole

    @property
    def setup(self) -> str:
        """Return dataset and network as text: ``MNIST, mlp``."""
        return self.group.where

    @property
    def task(self) -> str:
        """Return the setup with the settings of the task that vary: ``MNIST, mlp, labels=0.1``."""
        return self.group.title

    @property
    def errors(self) -> Mapping[int, float]:
        """Return the test error of each finished seed, percent."""
        return self.line.row.errors

    @property
    def resolution(self) -> float:
        """Return the percentage of one test example; 0 if their number is not known."""
        return self.line.row.step

    @property
    def test_error(self) -> Summary | None:
        """Return their mean with its 95 % interval; None without a finished seed."""
        return self.line.row.test

    @property
    def test_error_text(self) -> str:
        """Return the same as text: ``2.10 % [1.90, 2.30], 3 of 3 seeds``."""
        return error_of(self.line)


def configurations(results: StudyData, probe: str = "") -> list[Configuration]:
    """Return the configurations of a study, in the order of its plan.

    Args:
        results: the results of the study.
        probe: return those in which this probe recorded something, with its tables; "" for all
            configurations, without tables.
    """
    every = [(group, line) for group in groups(results) for line in group.lines]
    if not probe:
        return [Configuration(group, line) for group, line in every]
    found = [(group, line, tables_of(line.final, probe)) for group, line in every]
    return [Configuration(group, line, tables) for group, line, tables in found if tables]


def by_task(listed: Iterable[Configuration]) -> dict[str, list[Configuration]]:
    """Return configurations by task; the test errors of one task can be compared."""
    tasks: dict[str, list[Configuration]] = {}
    for entry in listed:
        tasks.setdefault(entry.task, []).append(entry)
    return tasks


def with_unique_titles(listed: Sequence[Configuration]) -> list[tuple[str, Configuration]]:
    """Return each configuration with a title that no other one of them has."""
    points = [entry.line.final.point for entry in listed]
    return [(placed(point, points), entry) for point, entry in zip(points, listed, strict=True)]


def titles_without(
    listed: Sequence[Configuration], setting: str
) -> list[tuple[str, Configuration]]:
    """Return each configuration with its title without a setting: one for each line of a figure."""
    points = [entry.line.final.point for entry in listed]
    titles = [called(point, points, without=(setting,)) for point in points]
    return list(zip(titles, listed, strict=True))


def tables_of(final: Final, probe: str) -> dict[int, Columns]:
    """Return a probe's table by seed; seeds that did not finish or have none are left out."""
    import pyarrow.parquet as pq

    found = {}
    for run in final.runs:
        path = run.run_dir / "probes" / f"{probe}.parquet"
        if run.status == "finished" and path.exists():
            table = pq.read_table(path)
            if table.num_rows:
                found[run.seed] = table.to_pydict()
    return found
