"""How wide the columns of a table in a terminal are, and the lines that its cells then have."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence

from lbench.report.breaking import BREAKS, broken

BETWEEN = 3
"""Columns of a terminal between two columns of a table, and around it."""
SHORTEST = 12
"""Letters of a word that stay together; a longer one may be broken behind a sign."""


def natural(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column whose cells all have one line."""
    return [max(map(_wide, column)) for column in zip(names, *rows, strict=True)]


def narrowest(
    names: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[int]
) -> list[int]:
    """Return the least width of each column at which no word is cut.

    Args:
        whole: columns whose cells are numbers, which are never broken; their names may be.
    """
    return _least(names, rows, whole, _pieces)


def total(widths: Sequence[int]) -> int:
    """Return how wide a table is."""
    return sum(widths) + BETWEEN * len(widths)


def fitted(
    names: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[int], room: int
) -> list[int]:
    """Return widths that fit into ``room``, the widest columns made narrower first.

    Words stay whole if they can; else long ones are broken behind signs; else those of cells are
    cut. If that is too wide as well, the table is: a terminal then wraps its lines.
    """
    widths = natural(names, rows)
    least = _least(names, rows, whole, str.split)
    if total(least) > room:
        least = narrowest(names, rows, whole)
    if total(least) > room:
        heads = _least(names, [], whole, str.split)
        least = [
            wide if at in whole else min(wide, max(heads[at], SHORTEST))
            for at, wide in enumerate(least)
        ]
    while total(widths) > room:
        wider = [at for at, width in enumerate(widths) if width > least[at]]
        if not wider:
            break
        widths[max(wider, key=widths.__getitem__)] -= 1
    return widths


def lines(cell: str, width: int) -> str:
    """Return a cell with line breaks between words, and within a long word behind signs."""
    return "\n".join(_lines(cell, width))


def _lines(cell: str, width: int) -> Iterable[str]:
    for part in cell.split("\n"):
        if _wide(part) <= width:
            yield part
            continue
        for line in textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False):
            yield from broken(line, width)


def _least(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    whole: Collection[int],
    parts: Callable[[str], Iterable[str]],
) -> list[int]:
    """Return the widths at which these parts of names, and of cells that are text, have room."""
    found = [[1, *map(_wide, parts(name))] for name in names]
    for row in rows:
        for at, cell in enumerate(row):
            found[at] += [_wide(cell)] if at in whole else map(_wide, parts(cell))
    return [max(widths) for widths in found]


def _pieces(text: str) -> Iterable[str]:
    for word in text.split():
        yield from [word] if len(word) <= SHORTEST else BREAKS.split(word)


def _wide(cell: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, cell.split("\n")))
