"""Tables, written to a terminal, in Markdown and in HTML, and how they show numbers."""

from __future__ import annotations

import html
import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lbench.output import wrapping
from lbench.output.terminal import coloured, columns, console, paragraph

if TYPE_CHECKING:
    from lbench.statistics.intervals import Summary

NONE = "—"
"""The text of a cell without a value."""
UNBOUNDED = 100_000
"""Columns of the output that is not a terminal."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts. ``str(table)`` is the table as text; a notebook shows it as HTML.

    :mod:`lbench.output.latex` writes it in LaTeX.

    Args:
        title: a line above it; "" for none.
        columns: their names.
        rows: texts in the order of the columns.
        right: indices of the columns that are aligned on the right, such as numbers.
        bold: indices of rows in bold type.
        red: indices of rows in red, such as those with a contradicted claim.
        notes: sentences below it.
        layouts: ways to distribute the columns over several tables where a terminal is too
            narrow, the widest first. The first one that breaks no word is taken, or the last.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    bold: Sequence[int] = ()
    red: Sequence[int] = ()
    notes: Sequence[str] = ()
    layouts: Sequence[Sequence[Sequence[int]]] = ()

    def __str__(self) -> str:
        """Return the table as text, as wide as its content, with its title and notes."""
        lines = [self.title] if self.title else []
        return "\n".join([*lines, self._drawn(UNBOUNDED, colours=False), *self.notes])

    def print(self) -> None:
        """Print the table with its title and notes on standard output.

        In a narrow terminal cells have several lines, broken between words, and numbers stay
        whole. Output that is not a terminal is never wrapped: other programs read it.
        """
        import click

        if self.title:
            click.echo(self.title)
        for part in self._parts():
            click.echo(part._drawn(_room()), color=coloured(sys.stdout))
        print_notes(self.notes)

    def fits(self) -> bool:
        """Return whether the terminal has room for the table without line breaks in cells."""
        return wrapping.total(wrapping.natural(self.columns, self.rows)) <= _room()

    def select(self, columns: Sequence[int], rows: Sequence[int] | None = None) -> Table:
        """Return the table with these columns and rows, by index; None for all rows."""
        lines = range(len(self.rows)) if rows is None else rows
        return replace(
            self,
            columns=[self.columns[at] for at in columns],
            rows=[[self.rows[line][at] for at in columns] for line in lines],
            right=[new for new, at in enumerate(columns) if at in self.right],
            bold=[new for new, line in enumerate(lines) if line in self.bold],
            red=[new for new, line in enumerate(lines) if line in self.red],
            layouts=(),
        )

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, with its notes as a list but without title."""
        rule = ["---:" if at in self.right else "---" for at in range(len(self.columns))]
        lines = [list(map(_escaped, self.columns)), rule]
        for at, row in enumerate(self.rows):
            cells = map(_escaped, row)
            lines.append([f"**{c}**" if at in self.bold and c != NONE else c for c in cells])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([table, *(["\n".join(f"- {n}" for n in self.notes)] * bool(self.notes))])

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        sides = ["right" if at in self.right else "left" for at in range(len(self.columns))]
        head = _html_cells("th", self.columns, sides)
        body = "".join(
            f"<tr{_row_style(at in self.bold, at in self.red)}>{_html_cells('td', row, sides)}</tr>"
            for at, row in enumerate(self.rows)
        )
        title = html.escape(self.title).replace("\n", "<br>")
        caption = f'<caption style="text-align:left">{title}</caption>' if title else ""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"

    def _parts(self) -> list[Table]:
        """Return the tables that show all columns in the terminal."""
        if not self.layouts or self.fits():
            return [self]
        parts: list[Table] = []
        for layout in self.layouts:
            parts = [self.select(part) for part in layout]
            if all(wrapping.total(p._narrowest()) <= _room() for p in parts):
                break
        return parts

    def _narrowest(self) -> list[int]:
        return wrapping.narrowest(self.columns, self.rows, self.right)

    def _drawn(self, room: int, *, colours: bool = True) -> str:
        """Return the table as text of at most ``room`` columns, without title and notes."""
        from rich import box
        from rich.table import Table as Drawing

        widths = wrapping.fitted(self.columns, self.rows, self.right, room)
        table = Drawing(box=box.SIMPLE_HEAD, pad_edge=False)
        for at, (name, width) in enumerate(zip(self.columns, widths, strict=True)):
            table.add_column(
                wrapping.lines(name, width),
                justify="right" if at in self.right else "left",
                width=width,
                overflow="fold",
            )
        for at, row in enumerate(self.rows):
            cells = (wrapping.lines(cell, width) for cell, width in zip(row, widths, strict=True))
            table.add_row(*cells, style="red" if colours and at in self.red else None)
        printer = console(sys.stdout, max(room, wrapping.total(widths)))
        with printer.capture() as captured:
            printer.print(table)
        printed = captured.get().removesuffix("\n").split("\n")
        return "\n".join(line.rstrip() for line in printed)


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


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences on standard output, their lines indented from the second on."""
    import click

    for note in notes:
        click.echo(paragraph(note, indent="    "))


def _room() -> int:
    return columns() or UNBOUNDED


def _escaped(cell: str) -> str:
    """Return a text that Markdown shows as it is, in one cell and without a tag or emphasis."""
    return re.sub(r"[\\`|*]|<(?=[\w/!?])", r"\\\g<0>", " ".join(cell.split()))


def _html_cells(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    return "".join(
        f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )


def _row_style(bold: bool, red: bool) -> str:
    styles = [*(["font-weight:bold"] if bold else []), *(["color:#b00020"] if red else [])]
    return f' style="{";".join(styles)}"' if styles else ""


def signed(mean: float, low: float | None = None, high: float | None = None) -> str:
    """Return a difference, ``+0.12 [-0.03, +0.27]``; without an interval the mean alone."""
    if low is None or high is None:
        return f"{mean:+.2f}"
    return f"{mean:+.2f} {between(low, high, sign='+')}"


def between(low: float, high: float, digits: int = 2, sign: str = "") -> str:
    """Return an interval, ``[1.70, 1.90]``; ends that would look equal are rounded outwards."""
    if round(low, digits) == round(high, digits):
        scale = 10**digits
        low, high = math.floor(low * scale) / scale, math.ceil(high * scale) / scale
    return f"[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def spread(summary: Summary, digits: int = 2) -> str:
    """Return a mean with its interval, ``0.97 [0.95, 0.99]``; without one the mean alone."""
    if summary.low is None or summary.high is None:
        return f"{summary.mean:.{digits}f}"
    return f"{summary.mean:.{digits}f} {between(summary.low, summary.high, digits)}"


def percent(value: float | None) -> str:
    """Return a percentage without its sign: ``1.80``; a dash for None."""
    return decimal(value)


def p_value(p: float | None) -> str:
    """Return ``0.031`` or ``< 0.001``; a dash for None."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """Return ``p = 0.031`` or ``p < 0.001``."""
    words = p_value(p)
    return f"p {words}" if words.startswith("<") else f"p = {words}"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with this number of decimal digits: ``1.80``; a dash for None."""
    return NONE if value is None else f"{value:.{digits}f}"


def mega(value: float | None) -> str:
    """Return a number in millions: ``1.24``, ``0.00436``; a dash for None."""
    if value is None:
        return NONE
    return decimal(value / 1e6) if value >= 1e6 else f"{value / 1e6:.3g}"


def count(value: int | None) -> str:
    """Return ``274,570``; a dash for None."""
    return NONE if value is None else f"{value:,}"


def out_of(finished: int, wanted: int) -> str:
    """Return ``9 of 10``; ``10`` when all have finished."""
    return str(finished) if finished == wanted else f"{finished} of {wanted}"


def settings(values: Iterable[tuple[str, object]]) -> str:
    """Return ``leadership=0.5 scale=4``; a dash for none."""
    return " ".join(f"{name}={text(value)}" for name, value in values) or NONE


def text(value: object) -> str:
    """Return an option's value as the command line takes it."""
    if isinstance(value, (list, tuple)):
        return ",".join(text(part) for part in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
