"""Numbers that a rule has per block, such as its workers and leaders, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FEW = 8
"""Largest number of blocks whose numbers are listed one by one."""


def per_block_text(numbers: Mapping[str, Sequence[float]]) -> str:
    """Return numbers as text: ``workers per block: 6, 12; leaders per block: 4, 8``."""
    return "; ".join(f"{name} per block: {row_text(row)}" for name, row in numbers.items())


def short_text(numbers: Mapping[str, Sequence[float]]) -> str:
    """Return numbers as text below a head that says per block: ``workers 6, 12; leaders 4, 8``."""
    return "; ".join(f"{name} {row_text(row)}" for name, row in numbers.items())


def row_text(row: Sequence[float]) -> str:
    """Return one number per block as text; ``6`` if all are equal, ``6 (x9), 12`` for many."""
    runs: list[tuple[float, int]] = []
    for number in row:
        if runs and runs[-1][0] == number:
            runs[-1] = (number, runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    if len(runs) == 1:
        return f"{runs[0][0]:g}"
    if len(row) <= FEW:
        return ", ".join(f"{number:g}" for number in row)
    return ", ".join(f"{n:g} (x{times})" if times > 1 else f"{n:g}" for n, times in runs)
