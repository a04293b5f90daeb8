"""The two matrices of an audit: who follows whom, as words and in a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from lbench.report.table import fits, print_notes, print_table

if TYPE_CHECKING:
    from lbench.auditing.report import Report

NOTHING = "·"
UNKNOWN = "?"
WAITS = "w"
LETTERS = {"full": "f", "sign": "s", "scalar": "1"}
"""For each kind of transport a single character, where columns are narrow."""


@dataclass
class Matrix:
    """Who follows whom.

    Args:
        title: what is shown, as a question.
        changed: what the title says of a column.
        rows: whose updates.
        columns: what was changed.
        cells: (rows, columns); an empty text where nothing was tried.
        depths: one per row; empty where rows have no depth.
    """

    title: str
    changed: str
    rows: list[str]
    columns: list[str]
    cells: list[list[str]]
    depths: list[str] = field(default_factory=list)


def units(report: Report) -> Matrix:
    """Return which unit's update moves when a later unit is redrawn.

    A cell has the first step at which it moved, from 1, and ``w`` where it waits for the column.
    """
    names = [unit.name for unit in report.units]
    cells = dict.fromkeys(((one, two) for one in names for two in names), "")
    for entry in report.locality():
        text = f"{entry['moved_at_step'] or ''}{WAITS if entry['waits'] else ''}"
        cells[entry["unit"], entry["redrawn"]] = text or NOTHING
    rows, columns = names[:-1], names[1:]
    return Matrix(
        "Whose update moves when a later unit is redrawn?",
        "redrawn",
        rows,
        columns,
        [[cells[one, two] for two in columns] for one in rows],
    )


def layers(report: Report) -> Matrix:
    """Return what of a layer's transposed weights reaches which layer's update."""
    found = report.layers()
    names = [layer["name"] for layer in found]
    hidden = [each["layer"] for each in report.unmeasurable() if each["layer"] not in names]
    # The first layer comes before all others: it has a column where something follows it.
    columns = [name for at, name in enumerate(names) if at or _followed(found, name)]
    cells = [
        ["" if to not in layer["transport"] else _kind(layer["transport"][to]) for to in columns]
        for layer in found
    ]
    cells = [row + [UNKNOWN] * len(hidden) for row in cells]
    cells += [[UNKNOWN] * (len(columns) + len(hidden)) for _ in hidden]
    depths = [_depth(layer) for layer in found] + [UNKNOWN] * len(hidden)
    title = "Whose transposed weights reach an update?"
    return Matrix(title, "changed", [*names, *hidden], [*columns, *hidden], cells, depths)


def show(matrix: Matrix) -> None:
    """Print a matrix; in a terminal that is too narrow with one character per cell."""
    last = ["depth"] if matrix.depths else []
    names = [f"{matrix.changed}:", *matrix.columns, *last]
    lines = [[name, *row] for name, row in zip(matrix.rows, matrix.cells, strict=True)]
    if matrix.depths:
        lines = [[*line, depth] for line, depth in zip(lines, matrix.depths, strict=True)]
    if fits(names, lines):
        print_table(names, lines, title=matrix.title)
        return
    _narrow(matrix)


def _narrow(matrix: Matrix) -> None:
    """Print a matrix with numbers for its columns and one character per cell."""
    numbers = {name: number for number, name in enumerate(_order(matrix), start=1)}
    digits = len(str(len(numbers)))
    tops = [str(numbers[name]).rjust(digits) for name in matrix.columns]
    width = max(map(len, matrix.rows))
    margin = " " * (digits + width + 3)
    click.echo(f"{matrix.title}\n")
    for at in range(digits):
        line = "".join(top[at] for top in tops)
        click.echo(f"{margin}{line}{'  depth' if matrix.depths and at == digits - 1 else ''}")
    for at, (name, row) in enumerate(zip(matrix.rows, matrix.cells, strict=True)):
        marks = "".join(_mark(cell) for cell in row)
        depth = f"  {matrix.depths[at]}" if matrix.depths else ""
        click.echo(f" {numbers[name]:>{digits}} {name:<{width}} {marks}{depth}".rstrip())
    unnamed = [f"{numbers[name]} {name}" for name in matrix.columns if name not in matrix.rows]
    print_notes([f"Columns without a row: {', '.join(unnamed)}."] if unnamed else [])
    click.echo()
    kinds = " f: full; s: sign; 1: scalar." if matrix.depths else ""
    print_notes([f"Narrow: columns have the numbers of their rows.{kinds}"])


def _order(matrix: Matrix) -> list[str]:
    """Return every name once, in the order in which the layers or units act."""
    return list(dict.fromkeys([*matrix.rows, *matrix.columns]))


def _mark(cell: str) -> str:
    return LETTERS.get(cell) or (WAITS if cell.endswith(WAITS) else cell or " ")


def _depth(layer: dict[str, Any]) -> str:
    """Return a layer's depth, as a lower bound where something may reach it without being seen."""
    least = None in layer["transport"].values() and layer["backward_depth"] != "full"
    return f"{'≥ ' if least else ''}{layer['backward_depth']}"


def _followed(found: list[dict[str, Any]], name: str) -> bool:
    kinds = [layer["transport"].get(name, "none") for layer in found]
    return any(kind not in ("none", "scalar") for kind in kinds)


def _kind(kind: str | None) -> str:
    return UNKNOWN if kind is None else NOTHING if kind == "none" else kind
