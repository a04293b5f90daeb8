"""The cells of a study as figures and analyses get them, with what a probe recorded in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench.report.lines import Group, Line, error_of, groups, placed
from lbench.statistics.intervals import Summary
from lbench.study.results import Final, Results

Columns = dict[str, list[Any]]
"""A probe's table: the values of each column, with ``step`` and ``epoch``, row by row."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a study's table: one rule, options, recipe, network and task.

    Args:
        group: the cells that it may be compared with, itself among them.
        line: the cell's numbers, as the tables of the report have them.
        tables: by seed, the table of the probe that was asked for; of finished seeds that have one.
    """

    group: Group
    line: Line
    tables: Mapping[int, Columns] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What ``lbench compare`` takes."""
        return self.line.row.cell.cell_id

    @property
    def rule(self) -> str:
        """The name of the rule."""
        return self.line.row.cell.rule

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.group.dataset

    @property
    def network(self) -> str:
        """The name of the network."""
        return self.group.network

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the study sets there, by name, such as ``lr`` or ``net.depth``."""
        return self.line.final.point.settings

    @property
    def title(self) -> str:
        """The arm's name, or the rule, with the settings that vary: ``bp lr=0.1``."""
        return self.line.title

    @property
    def where(self) -> str:
        """Dataset and network in words: ``MNIST, mlp``."""
        return self.group.where

    @property
    def place(self) -> str:
        """``where`` with the settings of the task that vary: cells of one place are comparable."""
        return self.group.title

    @property
    def errors(self) -> Mapping[int, float]:
        """The test error of each finished seed, percent."""
        return self.line.row.errors

    @property
    def test_error(self) -> Summary | None:
        """Their mean with its 95 % interval; None without a finished seed."""
        return self.line.row.test

    @property
    def error_text(self) -> str:
        """The same as text: ``2.10 % [1.90, 2.30], 3 of 3 seeds``."""
        return error_of(self.line)


def cells_of(results: Results, probe: str = "") -> list[Cell]:
    """Return the cells of a study, in the order of its plan.

    Args:
        results: what came of the study.
        probe: those in which this probe recorded something, with its tables; "" for all cells,
            without tables.
    """
    every = [(group, line) for group in groups(results) for line in group.lines]
    if not probe:
        return [Cell(group, line) for group, line in every]
    found = [(group, line, tables_of(line.final, probe)) for group, line in every]
    return [Cell(group, line, tables) for group, line, tables in found if tables]


def by_place(found: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return cells by dataset, network and task in words: those of one place can be compared."""
    places: dict[str, list[Cell]] = {}
    for each in found:
        places.setdefault(each.place, []).append(each)
    return places


def titled(found: Sequence[Cell]) -> list[tuple[str, Cell]]:
    """Return each cell with a name that no other one of them has, wherever it stands."""
    points = [each.line.final.point for each in found]
    return [(placed(each.line.final.point, points), each) for each in found]


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
