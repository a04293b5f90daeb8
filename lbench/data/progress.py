"""Progress of decoding, on standard error; short decodes print nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

QUIET_SECONDS = 2.0


def tell(message: str, end: str = "\n") -> None:
    """Write a message to standard error; on a terminal it overwrites an unfinished line."""
    start = "\r" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}lbench: {message}{end}")
    sys.stderr.flush()


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and print from time to time how many were yielded.

    A terminal gets one line that changes every second, a file one line every ten seconds.
    """
    suffix = f" of {total:,}" if total else ""
    terminal = sys.stderr.isatty()
    begin = time.monotonic()
    due, printed, count = begin + QUIET_SECONDS, False, 0

    for item in items:
        yield item
        count += 1
        if count % 64 == 0 and time.monotonic() >= due:
            tell(f"{what}: {count:,}{suffix}", end="" if terminal else "\n")
            due, printed = time.monotonic() + (1 if terminal else 10), True
    if printed:
        tell(f"{what}: {count:,}{suffix}")
