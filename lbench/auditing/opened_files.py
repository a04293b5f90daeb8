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
"""Ends of the names of files that an import opens."""
SYSTEM = {Path("/dev"), Path("/proc"), Path("/sys")}
CALLERS = ("lbench.run.", "lbench.auditing.")
"""Modules that call a rule. What stands below them on the call stack has called lbench."""

_watching: list[FileMonitor] = []
_installed = False
_here = threading.local()


class FileMonitor:
    """Notices files, but for code, that are opened for reading with a rule on the call stack.

    Args:
        modules: of the rule's code, by name.
        tell: is given each path, once; what it opens itself does not count.
    """

    def __init__(self, modules: Collection[str], tell: Callable[[Path], None]) -> None:
        self._modules = frozenset(modules)
        self._tell = tell
        self._told: set[Path] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is opened inside, in any thread."""
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
        """Take one event of the interpreter: a file was opened."""
        if not isinstance(file, str | bytes | os.PathLike):
            return  # a descriptor: its file was opened before
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) == os.O_WRONLY:
            return
        path = Path(os.fsdecode(file))
        if path.suffix in CODE or not self._own(sys._getframe(1)):
            return
        path = path.resolve()
        if path not in self._told and path.is_file() and not {*path.parents} & SYSTEM:
            self._told.add(path)
            self._tell(path)

    def _own(self, frame: FrameType | None) -> bool:
        """Whether the rule's code is on the stack, and lbench, if it is there, has called it."""
        own, found = False, None
        while frame is not None:
            name = str(frame.f_globals.get("__name__", ""))
            own |= name in self._modules
            if name.startswith(CALLERS) and name != __name__:
                found = own
            frame = frame.f_back
        return own if found is None else found  # a thread of the rule's own has no caller


def modules_of(*classes: type) -> frozenset[str]:
    """Return the modules of some classes and of what they derive from, but for lbench's own."""
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
        return  # the rule's own call must not fail because it is watched
    finally:
        _here.busy = False
