"""Tables in a terminal and in markdown, and how numbers look in them."""

from __future__ import annotations

import html
import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbench.report import widths
from lbench.report.terminal import coloured, columns, console, paragraph

if TYPE_CHECKING:
    from lbench.statistics.intervals import Summary

NONE = "—"
"""What stands where nothing was measured."""
UNBOUNDED = 100_000
"""Columns of a table that is not printed to a terminal, as many as it may need."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts, from which a terminal, markdown, HTML and LaTeX are made.

    ``str(table)`` is the table as text, and a notebook shows it as HTML.

    Args:
        title: what all its lines have in common.
        columns: their names.
        rows: texts in the order of the columns.
        right: indices of the columns of numbers.
        bold: indices of rows that stand out.
        red: indices of the rows with a contradiction.
        notes: sentences below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    bold: Sequence[int] = ()
    red: Sequence[int] = ()
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Return the table as text, as wide as its content, with its title and notes."""
        right, red = set(self.right), set(self.red)
        body = _drawn(self.columns, self.rows, right, red, UNBOUNDED, plain=True)
        return "\n".join([*([self.title] if self.title else []), body, *self.notes])

    def markdown(self) -> str:
        """Return the table in GitHub's markdown, without its title and notes."""
        return markdown(self.columns, self.rows, right=self.right, bold=self.bold)

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        align = ["right" if at in self.right else "left" for at in range(len(self.columns))]
        head = "".join(
            f'<th style="text-align:{side}">{html.escape(name)}</th>'
            for side, name in zip(align, self.columns, strict=True)
        )
        body = "".join(
            f"<tr{_row_style(at in self.bold, at in self.red)}>"
            + "".join(
                f'<td style="text-align:{side}">{html.escape(cell)}</td>'
                for side, cell in zip(align, row, strict=True)
            )
            + "</tr>"
            for at, row in enumerate(self.rows)
        )
        title = html.escape(self.title).replace("\n", "<br>")
        caption = f'<caption style="text-align:left">{title}</caption>' if title else ""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def stacked(tables: Sequence[Table]) -> Table:
    """Return tables below each other as one; the titles of several are its first column."""
    if len(tables) == 1:
        return tables[0]
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    rows: list[list[str]] = []
    right, bold, red = set(), [], []
    for table in tables:
        bold += [len(rows) + at for at in table.bold]
        red += [len(rows) + at for at in table.red]
        right |= {1 + columns.index(table.columns[at]) for at in table.right}
        for row in table.rows:
            cells = dict(zip(table.columns, row, strict=True))
            rows.append([table.title, *(cells.get(name, NONE) for name in columns)])
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    return Table("", ["", *columns], rows, sorted(right), bold, red, notes)


def _row_style(bold: bool, red: bool) -> str:
    styles = [*(["font-weight:bold"] if bold else []), *(["color:#b00020"] if red else [])]
    return f' style="{";".join(styles)}"' if styles else ""


def signed(mean: float, low: float | None = None, high: float | None = None) -> str:
    """A difference: ``+0.12 [-0.03, +0.27]``; without an interval the mean alone."""
    if low is None or high is None:
        return f"{mean:+.2f}"
    return f"{mean:+.2f} {between(low, high, sign='+')}"


def between(low: float, high: float, digits: int = 2, sign: str = "") -> str:
    """Return an interval, ``[1.70, 1.90]``; what would look like a point is rounded outwards."""
    if round(low, digits) == round(high, digits):
        scale = 10**digits
        low, high = math.floor(low * scale) / scale, math.ceil(high * scale) / scale
    return f"[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def spread(summary: Summary, digits: int = 2) -> str:
    """Return a mean with its interval, ``0.97 [0.95, 0.99]``; without one the mean alone."""
    if summary.low is None or summary.high is None:
        return f"{summary.mean:.{digits}f}"
    return f"{summary.mean:.{digits}f} {between(summary.low, summary.high, digits)}"


def print_table(
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    right: Iterable[int] = (),
    red: Iterable[int] = (),
) -> None:
    """Print a table as wide as its content; ``right`` are the columns of numbers, ``red`` rows.

    In a narrow terminal cells have several lines, broken between words; numbers stay whole.
    """
    import click

    if title:
        # Not rich's title, which is folded to the width of the table.
        click.echo(title)
    # Piped output is for other programs and for grep: it is never wrapped.
    room = columns() or UNBOUNDED
    drawn = _drawn(names, [list(row) for row in rows], set(right), set(red), room)
    click.echo(drawn, color=coloured(sys.stdout))


def _drawn(
    names: Sequence[str],
    lines: Sequence[Sequence[str]],
    numbers: set[int],
    wrong: set[int],
    room: int,
    *,
    plain: bool = False,
) -> str:
    """Return a table as text of at most ``room`` columns; a plain one has no colours."""
    from rich import box
    from rich.table import Table as Drawing

    wide = widths.fitted(names, lines, numbers, room)
    table = Drawing(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, (name, width) in enumerate(zip(names, wide, strict=True)):
        table.add_column(
            widths.lines(name, width),
            justify="right" if index in numbers else "left",
            width=width,
            overflow="fold",
        )
    for index, row in enumerate(lines):
        cells = (widths.lines(cell, width) for cell, width in zip(row, wide, strict=True))
        table.add_row(*cells, style="red" if index in wrong and not plain else None)
    printer = console(sys.stdout, max(room, widths.total(wide)))
    with printer.capture() as captured:
        printer.print(table)
    printed = (line.rstrip() for line in captured.get().removesuffix("\n").split("\n"))
    return "\n".join(printed)


def fits(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a table has room without folding; always where output is no terminal."""
    room = columns()
    return room is None or widths.total(widths.natural(names, rows)) <= room


def print_parts(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    layouts: Iterable[Sequence[Sequence[int]]],
    *,
    right: Iterable[int] = (),
    red: Iterable[int] = (),
) -> None:
    """Print a table whole where it fits, else as smaller tables below each other.

    Args:
        names: of the columns of the whole table.
        rows: its cells.
        layouts: ways to distribute the columns over tables, the widest first; the first one that
            breaks no word is taken, or the last.
        right: the columns of numbers.
        red: these rows.
    """
    numbers, wrong = set(right), set(red)
    parts: Sequence[Sequence[int]] = [range(len(names))]
    if not fits(names, rows):
        for parts in layouts:
            if all(_whole_words(names, rows, part, numbers) for part in parts):
                break
    for part in parts:
        print_table(
            [names[i] for i in part],
            [[row[i] for i in part] for row in rows],
            right=[at for at, i in enumerate(part) if i in numbers],
            red=wrong,
        )


def _whole_words(
    names: Sequence[str], rows: Sequence[Sequence[str]], part: Sequence[int], numbers: set[int]
) -> bool:
    least = widths.narrowest(names, rows, numbers)
    return widths.total([least[i] for i in part]) <= (columns() or UNBOUNDED)


def markdown(
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    bold: Iterable[int] = (),
) -> str:
    """Return the same table in GitHub's markdown; ``bold`` are rows."""
    numbers, strong = set(right), set(bold)
    rule = ["---:" if index in numbers else "---" for index in range(len(names))]
    lines = [list(map(_plain, names)), rule]
    for index, row in enumerate(rows):
        cells = map(_plain, row)
        lines.append([f"**{c}**" if index in strong and c != NONE else c for c in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(cell: str) -> str:
    """Return a text that markdown shows as it is, in one cell and without a tag or emphasis."""
    return re.sub(r"[\\`|*]|<(?=[\w/!?])", r"\\\g<0>", " ".join(cell.split()))


def percent(value: float | None) -> str:
    """Return a percentage without its sign: ``1.80``; a dash for None."""
    return decimal(value)


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with this number of decimal digits: ``1.80``; a dash for None."""
    return NONE if value is None else f"{value:.{digits}f}"


def mega(value: float | None) -> str:
    """Return a number in millions: ``1.24``, ``0.00436``; a dash for None."""
    if value is None:
        return NONE
    return decimal(value / 1e6) if value >= 1e6 else f"{value / 1e6:.3g}"


def count(value: int | None) -> str:
    """``274,570``; a dash for None."""
    return NONE if value is None else f"{value:,}"


def of(finished: int, wanted: int) -> str:
    """``9 of 10``, as of seeds; ``10`` when all have finished."""
    return str(finished) if finished == wanted else f"{finished} of {wanted}"


def settings(values: Iterable[tuple[str, object]]) -> str:
    """``leadership=0.5 scale=4``; a dash for none."""
    return " ".join(f"{name}={text(value)}" for name, value in values) or NONE


def text(value: object) -> str:
    """An option's value as the command line takes it."""
    if isinstance(value, (list, tuple)):
        return ",".join(text(part) for part in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_notes(notes: Iterable[str]) -> None:
    """Lines below a table, indented behind their first word."""
    import click

    for note in notes:
        click.echo(paragraph(note, indent="    "))
