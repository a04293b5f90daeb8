"""Files and folders that a user may not read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

UNPRIVILEGED = 65534
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


@contextlib.contextmanager
def no_privileges() -> Iterator[None]:
    """Run as a user to whom permissions apply: they do not apply to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(0)
