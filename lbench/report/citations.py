"""Published numbers as text: a table of their own, with sources and cautions below it."""

from __future__ import annotations

from collections.abc import Sequence

from lbench.report.published import Published
from lbench.report.table import NONE, fits, percent, print_notes, print_table

COLUMNS = (
    "rule", "dataset", "test", "train", "network", "same here", "augmentation", "setting",
    "selected", "source",
)  # fmt: skip
TERMS = ("same here", "augmentation", "selected")
"""What a narrow terminal has in the notes."""
NUMBERS = ("test", "train")
NAMES = ("rule", "dataset")


def table(
    rows: Sequence[Published], *, narrow: bool = False
) -> tuple[list[str], list[list[str]], list[str]]:
    """Return columns, cells and numbered notes: a source, who ran it, and what must be known.

    Columns that say nothing (one rule, one dataset, no setting) are left out.

    Args:
        rows: the numbers.
        narrow: move :data:`TERMS` into the notes.
    """
    notes: list[str] = []
    lines = []
    for row in rows:
        note = _note(row, terms=narrow)
        if note not in notes:
            notes.append(note)
        setting = row.setting or NONE
        lines.append(
            [row.rule, row.dataset, percent(row.test_error), percent(row.train_error),
             row.network, row.same_network, row.augmentation, setting, row.selected,
             f"[{notes.index(note) + 1}]"]
        )  # fmt: skip
    kept = [
        i
        for i, column in enumerate(COLUMNS)
        if _says_something(column, [line[i] for line in lines]) and not (narrow and column in TERMS)
    ]
    return (
        [COLUMNS[i] for i in kept],
        [[line[i] for i in kept] for line in lines],
        [f"[{number}] {note}." for number, note in enumerate(notes, start=1)],
    )


def print_published(rows: Sequence[Published], title: str) -> None:
    """Print the table and its notes on standard output; nothing without rows."""
    if not rows:
        return
    columns, lines, notes = table(rows)
    if not fits(columns, lines):
        columns, lines, notes = table(rows, narrow=True)
    right = [i for i, column in enumerate(columns) if column in NUMBERS]
    print_table(columns, lines, title=title, right=right)
    print_notes(notes)


def _note(row: Published, *, terms: bool) -> str:
    words = [row.note] if row.note else []
    if terms:
        words.append(
            f"same network here: {row.same_network}; augmentation: {row.augmentation}; "
            f"selected: {row.selected}"
        )
    return f"{row.source} ({row.origin})" + (f": {'; '.join(words)}" if words else "")


def _says_something(column: str, cells: Sequence[str]) -> bool:
    if column in NAMES:
        return len(set(cells)) > 1
    return any(cell != NONE for cell in cells)
