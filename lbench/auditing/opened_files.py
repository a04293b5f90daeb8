"""Files that the code of a rule opens while it is built, trained and evaluated.

Python calls audit hooks for every file that it opens. Such a hook cannot be removed again, so the
process has one, which does nothing unless a :class:`FileMonitor` is active. Files that a library
opens by itself, below Python, are not seen.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dll", ".dylib")
"""Suffixes of files that an import opens."""
SYSTEM = {Path("/dev"), Path("/proc"), Path("/sys")}
CALLERS = ("lbench.training.", "lbench.auditing.")
"""Modules that call a rule. Frames below them on the call stack have called lbench."""

_watching: list[FileMonitor] = []
_installed = False
_here = threading.local()


class FileMonitor:
    """Notice files that are opened for reading while code of a rule is on the call stack.

    Files of code are left out.

    Args:
        modules: names of the modules of the rule's code.
        report: called once with each path; files that it opens itself do not count.
    """

    def __init__(self, modules: Collection[str], report: Callable[[Path], None]) -> None:
        self._modules = frozenset(modules)
        self._report = report
        self._reported: set[Path] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice files that any thread opens within the context."""
        global _installed
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True
        _watching.append(self)
        try:
            yield
        finally:
            _watching.remove(self)

    def see(self, file: object, flags: object) -> None:
        """Process one event of the interpreter: a file was opened."""
        if not isinstance(file, str | bytes | os.PathLike):
            return  # a descriptor, whose file was opened before
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) == os.O_WRONLY:
            return
        path = Path(os.fsdecode(file))
        if path.suffix in CODE or not self._own(sys._getframe(1)):
            return
        path = path.resolve()
        if path not in self._reported and path.is_file() and not {*path.parents} & SYSTEM:
            self._reported.add(path)
            self._report(path)

    def _own(self, frame: FrameType | None) -> bool:
        """Return whether the rule's code is on the stack, called by lbench if lbench is there."""
        own, called_by_lbench = False, None
        while frame is not None:
            name = str(frame.f_globals.get("__name__", ""))
            own |= name in self._modules
            if name.startswith(CALLERS) and name != __name__:
                called_by_lbench = own
            frame = frame.f_back
        # In a thread that the rule started, lbench is not on the stack.
        return own if called_by_lbench is None else called_by_lbench


def modules_of(*classes: type) -> frozenset[str]:
    """Return the modules of classes and of their base classes, without lbench's and PyTorch's."""
    names = {base.__module__ for cls in classes for base in cls.__mro__}
    return frozenset(n for n in names if n.partition(".")[0] not in ("lbench", "torch", "builtins"))


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" or not _watching or getattr(_here, "busy", False):
        return
    _here.busy = True
    try:
        for monitor in tuple(_watching):
            monitor.see(args[0], args[2])
    except Exception:
        return  # the rule's call must not fail because of the monitor
    finally:
        _here.busy = False
