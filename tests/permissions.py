"""Runs code without the privileges of root, to test missing permissions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

UNPRIVILEGED = 65534
"""Id of a user without privileges."""
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


@contextlib.contextmanager
def no_privileges() -> Iterator[None]:
    """Run as another user within the context if this one is root, who ignores permissions."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(0)
