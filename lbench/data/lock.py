"""A lock between processes that prints what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lbench.data.progress import tell


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path`` within the context; the system releases it if its owner dies.

    Args:
        path: the lock file.
        what: what another process may be doing, printed on standard error while waiting.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=2)
    except filelock.Timeout:
        tell(f"waiting for another process: {what}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def unlocked(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` within the context if no process has it; yield whether so."""
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
