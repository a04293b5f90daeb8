"""Prevents the code of plugins from printing among results and from ending the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

_exit = os._exit
_owner = os.getpid()


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Send standard output to standard error, and refuse ``os._exit``, within the context.

    Output of the code, its subprocesses and its compiled modules never reaches the standard output
    that a reader of ``--json`` parses. ``os._exit`` raises RuntimeError, so that an author sees
    where it was called; a process that the code has forked may use it.
    """
    global _owner
    stdout, leave, _owner = sys.stdout, os._exit, os.getpid()
    _flush()
    saved = _divert()
    sys.stdout, os._exit = sys.stderr, _refuse
    try:
        yield
    finally:
        sys.stdout, os._exit = stdout, leave
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def contain_the_rest() -> None:
    """Send output to standard error that is written to standard output while the process ends.

    Functions that code has registered with atexit, and buffers of C, write after the result.
    """
    # The last function to be registered is the first to be called.
    atexit.register(_contain_the_rest)


def _contain_the_rest() -> None:
    _flush()
    saved = _divert()
    if saved is not None:
        os.close(saved)
    sys.stdout = sys.stderr


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


def _divert() -> int | None:
    """Point descriptor 1 at standard error; return a copy of the old one, None if it is closed."""
    try:
        saved = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    return saved


def _refuse(status: int) -> NoReturn:
    if os.getpid() != _owner:
        _exit(status)
    raise RuntimeError(f"os._exit({status}) was called, which would end lbench without a message")
