"""Read-only folders, also for root, who may write in spite of file modes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW_MOUNTS = 0x20000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000


def mount_read_only(folder: Path) -> None:
    """Make a folder read-only for this process and those that it starts, and no other.

    Raises:
        OSError: the system does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(folder)
    for failed in (
        libc.unshare(NEW_MOUNTS),
        libc.mount(None, b"/", None, RECURSIVE | PRIVATE, None),
        libc.mount(path, path, None, BIND, None),
        libc.mount(None, path, None, REMOUNT | BIND | READ_ONLY, None),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "cannot mount", str(folder))


@contextmanager
def without_write_permission(folder: Path) -> Iterator[None]:
    """Remove the permission to write a folder within the context."""
    before = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in before.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in before.items():
            path.chmod(mode)
