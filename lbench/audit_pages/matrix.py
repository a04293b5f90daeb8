"""The two matrices of an audit: which update depends on which unit and on which transpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from lbench.output.table import Table, print_notes

if TYPE_CHECKING:
    from lbench.auditing.report import Report

NOTHING = "·"
UNKNOWN = "?"
WAITS = "w"
LETTERS = {"full": "f", "sign": "s", "scalar": "1"}
"""A single character for each kind of transport, where columns are narrow."""


@dataclass
class Matrix:
    """Which row's update depends on which column.

    Args:
        title: what is shown, as a question.
        changed: what was done to a column: "redrawn", "changed".
        rows: units or layers whose updates were observed.
        columns: units or layers that were changed.
        cells: (rows, columns); an empty text where nothing was tried.
        depths: one per row; empty where rows have no depth.
    """

    title: str
    changed: str
    rows: list[str]
    columns: list[str]
    cells: list[list[str]]
    depths: list[str] = field(default_factory=list)

    def print(self) -> None:
        """Print the matrix; in a terminal that is too narrow with one character per cell."""
        last = ["depth"] if self.depths else []
        depths = [[depth] for depth in self.depths] or [[] for _ in self.rows]
        rows = [
            [name, *cells, *depth]
            for name, cells, depth in zip(self.rows, self.cells, depths, strict=True)
        ]
        table = Table(self.title, [f"{self.changed}:", *self.columns, *last], rows)
        if table.fits():
            table.print()
        else:
            self._print_characters()

    def _print_characters(self) -> None:
        """Print the matrix with numbers for its columns and one character per cell."""
        names = dict.fromkeys([*self.rows, *self.columns])
        numbers = {name: number for number, name in enumerate(names, start=1)}
        digits = len(str(len(numbers)))
        tops = [str(numbers[name]).rjust(digits) for name in self.columns]
        width = max(map(len, self.rows))
        margin = " " * (digits + width + 3)
        click.echo(f"{self.title}\n")
        for at in range(digits):
            line = "".join(top[at] for top in tops)
            click.echo(f"{margin}{line}{'  depth' if self.depths and at == digits - 1 else ''}")
        for at, (name, row) in enumerate(zip(self.rows, self.cells, strict=True)):
            marks = "".join(_character(cell) for cell in row)
            depth = f"  {self.depths[at]}" if self.depths else ""
            click.echo(f" {numbers[name]:>{digits}} {name:<{width}} {marks}{depth}".rstrip())
        unnamed = [f"{numbers[name]} {name}" for name in self.columns if name not in self.rows]
        print_notes([f"Columns without a row: {', '.join(unnamed)}."] if unnamed else [])
        click.echo()
        kinds = " f: full; s: sign; 1: scalar." if self.depths else ""
        print_notes([f"Narrow: columns have the numbers of their rows.{kinds}"])


def units(report: Report) -> Matrix:
    """Return which unit's update changes when a later unit is redrawn.

    A cell has the first step at which it changed, from 1, and ``w`` where it waits for the column.
    """
    names = [unit.name for unit in report.units]
    cells = dict.fromkeys(((row, column) for row in names for column in names), "")
    for entry in report.locality():
        text = f"{entry['moved_at_step'] or ''}{WAITS if entry['waits'] else ''}"
        cells[entry["unit"], entry["redrawn"]] = text or NOTHING
    rows, columns = names[:-1], names[1:]
    return Matrix(
        "Whose update moves when a later unit is redrawn?",
        "redrawn",
        rows,
        columns,
        [[cells[row, column] for column in columns] for row in rows],
    )


def layers(report: Report) -> Matrix:
    """Return what of a layer's transposed weights reaches which layer's update."""
    measured = report.layers()
    names = [layer["name"] for layer in measured]
    hidden = [entry["layer"] for entry in report.unmeasurable() if entry["layer"] not in names]
    # The first layer comes before all others: it has a column where its weights reach an update.
    columns = [name for at, name in enumerate(names) if at or _reaches(measured, name)]
    cells = [
        ["" if to not in layer["transport"] else _kind(layer["transport"][to]) for to in columns]
        for layer in measured
    ]
    cells = [row + [UNKNOWN] * len(hidden) for row in cells]
    cells += [[UNKNOWN] * (len(columns) + len(hidden)) for _ in hidden]
    depths = [_depth(layer) for layer in measured] + [UNKNOWN] * len(hidden)
    title = "Whose transposed weights reach an update?"
    return Matrix(title, "changed", [*names, *hidden], [*columns, *hidden], cells, depths)


def _character(cell: str) -> str:
    return LETTERS.get(cell) or (WAITS if cell.endswith(WAITS) else cell or " ")


def _depth(layer: dict[str, Any]) -> str:
    """Return a layer's depth, as a lower bound where not every dependence was measurable."""
    least = None in layer["transport"].values() and layer["backward_depth"] != "full"
    return f"{'≥ ' if least else ''}{layer['backward_depth']}"


def _reaches(measured: list[dict[str, Any]], name: str) -> bool:
    kinds = [layer["transport"].get(name, "none") for layer in measured]
    return any(kind not in ("none", "scalar") for kind in kinds)


def _kind(kind: str | None) -> str:
    return UNKNOWN if kind is None else NOTHING if kind == "none" else kind
