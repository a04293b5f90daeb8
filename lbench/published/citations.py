"""Published numbers as a table of their own, with sources and cautions below it."""

from __future__ import annotations

from collections.abc import Sequence

from lbench.output.table import NONE, Table, percent
from lbench.published.numbers import Published

COLUMNS = (
    "rule", "dataset", "test", "train", "network", "same here", "augmentation", "setting",
    "selected", "source",
)  # fmt: skip
TERMS = ("same here", "augmentation", "selected")
"""Columns that a narrow terminal shows in the notes."""
TITLE = "Published, percent; network, augmentation and selection as stated"
NUMBERS = ("test", "train")
NAMES = ("rule", "dataset")


def table(rows: Sequence[Published], *, title: str = "", narrow: bool = False) -> Table:
    """Return published numbers with numbered notes: source, who made the runs, and cautions.

    Columns that say nothing (one rule, one dataset, no setting) are left out.

    Args:
        rows: the numbers.
        title: of the table.
        narrow: whether the notes have :data:`TERMS`, instead of columns.
    """
    notes = list(dict.fromkeys(_note(row, terms=narrow) for row in rows))
    cells = [
        [row.rule, row.dataset, percent(row.test_error), percent(row.train_error),
         row.network, row.same_network, row.augmentation, row.setting or NONE, row.selected,
         f"[{notes.index(_note(row, terms=narrow)) + 1}]"]
        for row in rows
    ]  # fmt: skip
    right = [at for at, column in enumerate(COLUMNS) if column in NUMBERS]
    numbered = [f"[{number}] {note}." for number, note in enumerate(notes, start=1)]
    shown = [
        at
        for at, column in enumerate(COLUMNS)
        if not (narrow and column in TERMS)
        and (len({line[at] for line in cells}) > 1 if column in NAMES
             else any(line[at] != NONE for line in cells))
    ]  # fmt: skip
    return Table(title, COLUMNS, cells, right, notes=numbered).select(shown)


def print_published(rows: Sequence[Published], above: str = "") -> None:
    """Print the table with its title and notes on standard output; nothing without rows."""
    if rows:
        wide, narrow = (table(rows, title=above + TITLE, narrow=narrow) for narrow in (False, True))
        (wide if wide.fits() else narrow).print()


def _note(row: Published, *, terms: bool) -> str:
    words = [row.note] if row.note else []
    if terms:
        words.append(
            f"same network here: {row.same_network}; augmentation: {row.augmentation}; "
            f"selected: {row.selected}"
        )
    return f"{row.source} ({row.origin})" + (f": {'; '.join(words)}" if words else "")
