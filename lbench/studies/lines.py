"""Line numbers of tables and keys in a TOML file, which the parser does not return."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

Location = Sequence[str | int]
"""Keys and indices from the top: ``("arms", 2, "set", "lam")``."""
_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def line_of(text: str, location: Location) -> int | None:
    """Return the line, from 1, of the innermost part of a location that the file has, or None."""
    wanted = list(location)
    depth, line = 0, None
    for number, path in _paths(text):
        if len(path) > depth and wanted[: len(path)] == path:
            depth, line = len(path), number
    return line


def _paths(text: str) -> Iterator[tuple[int, list[str | int]]]:
    """Yield the number and location of each line that begins a table or names a key."""
    table: list[str | int] = []
    arrays: Counter[str] = Counter()
    quote = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if quote:
            # This line is inside a multi-line string, which may contain anything.
            quote = "" if quote in line else quote
            continue
        if header := re.match(rf"\s*(\[\[?)\s*({_KEYS})\s*\]", line):
            keys = _split(header[2])
            if header[1] == "[[":
                arrays[keys[0]] += 1
            table = _indexed(keys, arrays)
            yield number, table
        elif assigned := re.match(rf"\s*({_KEYS})\s*=", line):
            yield number, [*table, *_split(assigned[1])]
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark


def _split(keys: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, keys)]


def _indexed(keys: list[str], arrays: Counter[str]) -> list[str | int]:
    """Return the keys, with the index of the current table of an array behind the first key."""
    first: list[str | int] = [keys[0]]
    if arrays[keys[0]]:
        first.append(arrays[keys[0]] - 1)
    return [*first, *keys[1:]]
