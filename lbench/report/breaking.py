"""Names broken into lines, in tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterable

BREAKS = re.compile(r"(?<=[\s_=,/.:-])")
"""Where a name may be broken."""


def broken(text: str, width: int) -> list[str]:
    """Return a text as lines of at most ``width`` letters, broken behind a sign if possible."""
    lines = [""]
    for piece in _pieces(" ".join(text.split()), width):
        if len((lines[-1] + piece).rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _pieces(text: str, width: int) -> Iterable[str]:
    for piece in BREAKS.split(text):
        for at in range(0, max(1, len(piece)), width):
            yield piece[at : at + width]
