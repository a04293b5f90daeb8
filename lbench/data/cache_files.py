"""The files of the cache: their sizes, when each was used last, and removing those not in use.

A process that has decoded images mapped into memory holds a shared lock on their file
(:func:`hold`); the system releases it when the last mapping is gone or the process dies. A file
is removed under an exclusive lock alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pydantic

from lbench.data.lock import unlocked
from lbench.data.progress import tell
from lbench.errors import DataError, UsageError

try:
    import fcntl
except ImportError:  # Windows, which refuses to remove a mapped file
    fcntl = None  # type: ignore[assignment]

VARIABLE = "LBENCH_CACHE_LIMIT"
DEFAULT_LIMIT = "20GB"
IMAGES, INDEX, INCOMPLETE = ".bin", ".json", ".tmp"
ENDINGS = (IMAGES, INDEX, INCOMPLETE)
"""Endings of decoded images, indexes of streamed ones, and files that were not completed."""
KINDS = "bin", "json", "tmp"
"""Suffixes of decoded data, of indices of streamed images, and of unfinished files."""


@dataclass(frozen=True)
class CacheFile:
    """A file of decoded data, the index of streamed images, or a file that was not completed.

    Args:
        path: its path.
        dataset: name of the dataset.
        size: in bytes.
        used: time of the last use, in seconds since 1970.
    """

    path: Path
    dataset: str
    size: int
    used: float

    @property
    def last_use(self) -> str:
        """Return day and minute of the last use, in local time."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.used))

    def remove(self) -> bool:
        """Remove the file unless a process uses it; return whether it is gone."""
        try:
            if self.path.suffix == INCOMPLETE:
                with unlocked(self.path.with_suffix(".lock")) as free:
                    if free:
                        self.path.unlink()
                    return free
            if fcntl is not None:
                # Opened for writing, which network file systems need for an exclusive lock.
                with self.path.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.path.unlink()
            else:
                self.path.unlink()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def hold(file: IO[bytes]) -> bool:
    """Mark an open cache file as in use while it, or a mapping of it, is open.

    Returns:
        False if the file was removed in the meantime.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:  # a file system without locks, where nothing is removed either
        return True
    return os.fstat(file.fileno()).st_nlink > 0


def cache_files(directory: Path) -> list[CacheFile]:
    """List the files of the cache, the one that was used longest ago first."""
    files = []
    for path in (path for kind in KINDS for path in directory.glob(f"*-*.{kind}")):
        try:
            stat = path.stat()
        except FileNotFoundError:  # another process has just removed it
            continue
        dataset = path.stem.rpartition("-")[0]
        files.append(CacheFile(path, dataset, stat.st_size, stat.st_mtime))
    return sorted(files, key=lambda file: file.used)


def touch(path: Path) -> None:
    """Record that a file of the cache is used now."""
    # In a cache that may only be read, this fails, and nothing is removed either.
    with contextlib.suppress(OSError):
        os.utime(path)


def readable(size: int) -> str:
    """Return a size in decimal units, such as ``307.2 MB``."""
    return pydantic.ByteSize(size).human_readable(decimal=True, separator=" ")


def limit() -> int | None:
    """Return the largest number of bytes of all decoded files together; None for no limit.

    It is given by ``LBENCH_CACHE_LIMIT``, which ``--cache-limit`` sets, and 20 GB by default.

    Raises:
        UsageError: the value is no size.
    """
    return parse_limit(os.environ.get(VARIABLE) or DEFAULT_LIMIT, VARIABLE)


def parse_limit(text: str, origin: str) -> int | None:
    """Read a size with its unit, or ``none``.

    Raises:
        UsageError: it is no size; the message names ``origin``.
    """
    if text.strip().lower() == "none":
        return None
    try:
        if text.strip().replace(".", "").isdigit():
            raise ValueError("no unit")
        return int(pydantic.TypeAdapter(pydantic.ByteSize).validate_python(text.strip()))
    except ValueError as error:
        raise UsageError(
            f"{origin} must be a size with its unit, but got {text!r}.",
            "For example: 20GB, 500MB, or none for no limit.",
        ) from error


def make_room(path: Path, size: int, allowed: int | None) -> None:
    """Remove files that were used longest ago, so that a new one keeps the cache in its limit.

    The caller holds the lock of the directory.

    Args:
        path: the new file, which replaces one of its name.
        size: its size in bytes.
        allowed: the limit in bytes; None for none.

    Raises:
        DataError: the new file alone is larger than the limit.
    """
    if allowed is None:
        return
    if size > allowed:
        raise DataError(
            f"The decoded data takes {readable(size)}, more than the {readable(allowed)} that the "
            "cache may have.",
            "Give a higher --cache-limit (LBENCH_CACHE_LIMIT), use fewer or smaller images, or "
            "stream them with --data stream=yes if the dataset has this option.",
        )
    others = [
        file
        for file in cache_files(path.parent)
        if file.path.stem != path.stem and file.path.suffix != INDEX  # indexes are small
    ]
    total = size + sum(file.size for file in others)
    for file in others:
        if total <= allowed:
            return
        if file.remove():
            total -= file.size
            tell(
                f"removed the decoded {file.dataset} ({readable(file.size)}, last used "
                f"{file.last_use}) to keep the cache below {readable(allowed)}"
            )
    if total > allowed:
        tell(
            f"the cache now has {readable(total)}, more than its limit of {readable(allowed)}: "
            "running processes use the other files"
        )
