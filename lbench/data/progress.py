"""Progress of a long decode on standard error; silent for short ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

QUIET_SECONDS = 2.0


def tell(message: str, end: str = "\n") -> None:
    """Write to standard error; a terminal's unfinished line is written over."""
    start = "\r" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}lbench: {message}{end}")
    sys.stderr.flush()


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Pass ``items`` on, telling from time to time how many have passed.

    A terminal gets one line that changes each second, a file a line each ten seconds.
    """
    of = f" of {total:,}" if total else ""
    terminal = sys.stderr.isatty()
    begin = time.monotonic()
    due, told, count = begin + QUIET_SECONDS, False, 0

    for item in items:
        yield item
        count += 1
        if count % 64 == 0 and time.monotonic() >= due:
            tell(f"{what}: {count:,}{of}", end="" if terminal else "\n")
            due, told = time.monotonic() + (1 if terminal else 10), True
    if told:
        tell(f"{what}: {count:,}{of}")
