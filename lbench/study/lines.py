"""Where in a TOML file something stands, which its parsed content does not tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

Location = Sequence[str | int]
"""Keys and indices from the top: ``("arms", 2, "set", "lam")``."""
_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def line_of(text: str, location: Location) -> int | None:
    """The line, from 1, of the innermost part of a location that the file has; None of none."""
    wanted = list(location)
    best, found = 0, None
    for number, path in _paths(text):
        if len(path) > best and wanted[: len(path)] == path:
            best, found = len(path), number
    return found


def _paths(text: str) -> Iterator[tuple[int, list[str | int]]]:
    """Each line that begins a table or names a key, with its location."""
    here: list[str | int] = []
    arrays: Counter[str] = Counter()
    quote = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if quote:
            # Inside a text of several lines, which may hold anything.
            quote = "" if quote in line else quote
            continue
        if header := re.match(rf"\s*(\[\[?)\s*({_KEYS})\s*\]", line):
            keys = _split(header[2])
            if header[1] == "[[":
                arrays[keys[0]] += 1
            here = _indexed(keys, arrays)
            yield number, here
        elif assigned := re.match(rf"\s*({_KEYS})\s*=", line):
            yield number, [*here, *_split(assigned[1])]
        for each in ('"""', "'''"):
            if line.count(each) % 2:
                quote = each


def _split(keys: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, keys)]


def _indexed(keys: list[str], arrays: Counter[str]) -> list[str | int]:
    """The keys, behind the first the index of the table that is open in that array."""
    first: list[str | int] = [keys[0]]
    if arrays[keys[0]]:
        first.append(arrays[keys[0]] - 1)
    return [*first, *keys[1:]]
