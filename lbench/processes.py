"""Starting worker processes that survive the keyboard's interrupt and import no main module."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType


@contextmanager
def starting_processes() -> Iterator[None]:
    """Let processes that are spawned within the context ignore interrupts and the main module.

    The keyboard's interrupt goes to all processes, but the one that has started the others decides
    what it means. A worker process needs no main module, and a script of the user without
    ``if __name__ == "__main__"`` would run once more in each.
    """
    # The resource tracker that spawning starts would unblock the signal again.
    resource_tracker.ensure_running()
    main = sys.modules["__main__"]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
