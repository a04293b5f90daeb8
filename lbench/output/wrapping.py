"""Line breaks in names and texts, and the widths of columns that they make possible."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence

BREAKS = re.compile(r"(?<=[\s_=,/.:-])")
"""Where a name may be broken."""
BETWEEN = 3
"""Columns of a terminal between two columns of a table, and around it."""
SHORTEST = 12
"""Letters of a word that stay together; a longer one may be broken after a sign."""


def broken(text: str, width: int) -> list[str]:
    """Return a text as lines of at most ``width`` letters, broken after a sign if possible."""
    lines = [""]
    for piece in BREAKS.split(" ".join(text.split())):
        for at in range(0, max(1, len(piece)), width):
            part = piece[at : at + width]
            if len((lines[-1] + part).rstrip()) > width and lines[-1]:
                lines.append("")
            lines[-1] += part
    return [line.rstrip() for line in lines]


def lines(cell: str, width: int) -> str:
    """Return a cell with line breaks between words, and within a long word after signs."""
    return "\n".join(_lines(cell, width))


def natural(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column whose cells all have one line."""
    return [max(map(_width, column)) for column in zip(names, *rows, strict=True)]


def narrowest(
    names: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[int]
) -> list[int]:
    """Return the least width of each column at which no word is cut.

    Args:
        whole: columns whose cells are numbers, which are never broken; their names may be.
    """
    return _least(names, rows, whole, _pieces)


def total(widths: Sequence[int]) -> int:
    """Return the width of a table with columns of these widths."""
    return sum(widths) + BETWEEN * len(widths)


def fitted(
    names: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[int], room: int
) -> list[int]:
    """Return widths that fit into ``room``, the widest columns made narrower first.

    Words stay whole if possible; otherwise long ones are broken after signs, and where that is
    not enough those of cells are cut. A table that is still too wide stays so.
    """
    widths = natural(names, rows)
    least = _least(names, rows, whole, str.split)
    if total(least) > room:
        least = narrowest(names, rows, whole)
    if total(least) > room:
        heads = _least(names, [], whole, str.split)
        least = [
            width if at in whole else min(width, max(heads[at], SHORTEST))
            for at, width in enumerate(least)
        ]
    while total(widths) > room:
        wider = [at for at, width in enumerate(widths) if width > least[at]]
        if not wider:
            break
        widths[max(wider, key=widths.__getitem__)] -= 1
    return widths


def _lines(cell: str, width: int) -> Iterable[str]:
    for part in cell.split("\n"):
        if _width(part) <= width:
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
    """Return the widths at which these parts of names and of cells of text fit."""
    widths = [[1, *map(_width, parts(name))] for name in names]
    for row in rows:
        for at, cell in enumerate(row):
            widths[at] += [_width(cell)] if at in whole else map(_width, parts(cell))
    return [max(column) for column in widths]


def _pieces(text: str) -> Iterable[str]:
    for word in text.split():
        yield from [word] if len(word) <= SHORTEST else BREAKS.split(word)


def _width(cell: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, cell.split("\n")))
