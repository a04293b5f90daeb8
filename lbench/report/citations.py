"""Published numbers as text: a table of their own, with sources and cautions below it."""

from __future__ import annotations

from collections.abc import Sequence

from lbench.report.published import Published
from lbench.report.table import NONE, percent, print_notes, print_table

COLUMNS = ("rule", "dataset", "test", "train", "network", "data", "setting", "source")
NUMBERS = ("test", "train")
NAMES = ("rule", "dataset")


def table(rows: Sequence[Published]) -> tuple[list[str], list[list[str]], list[str]]:
    """Columns, cells and numbered notes; a note is a source with what must be known of it.

    Columns that say nothing (one rule, one dataset, no setting) are left out.
    """
    notes: list[str] = []
    lines = []
    for row in rows:
        note = row.source + (f": {row.note}" if row.note else "")
        if note not in notes:
            notes.append(note)
        setting = row.setting or NONE
        lines.append(
            [row.rule, row.dataset, percent(row.test_error), percent(row.train_error),
             row.network, row.data, setting, f"[{notes.index(note) + 1}]"]
        )  # fmt: skip
    kept = [i for i, column in enumerate(COLUMNS) if _says_something(column, [r[i] for r in lines])]
    return (
        [COLUMNS[i] for i in kept],
        [[line[i] for i in kept] for line in lines],
        [f"[{number}] {note}." for number, note in enumerate(notes, start=1)],
    )


def print_published(rows: Sequence[Published], title: str) -> None:
    """The table and its notes on standard output; nothing without rows."""
    if not rows:
        return
    columns, lines, notes = table(rows)
    right = [i for i, column in enumerate(columns) if column in NUMBERS]
    print_table(columns, lines, title=title, right=right)
    print_notes(notes)


def _says_something(column: str, cells: Sequence[str]) -> bool:
    if column in NAMES:
        return len(set(cells)) > 1
    return any(cell != NONE for cell in cells)
