"""What the code of a plugin raised, and where in its author's files."""

from __future__ import annotations

import errno
import traceback
from types import FrameType

from lbench.errors import LbenchError
from lbench.registry import registry


def reason(error: BaseException, *classes: type) -> str:
    """Return one line: kind and message of an error, and where a plugin raised it.

    Args:
        classes: that count as plugins, beside those that are registered.
    """
    message = error.message if isinstance(error, LbenchError) else str(error)
    first = (message.splitlines() or [""])[0]
    kind = "out of memory" if _memory(error) else type(error).__name__
    text = f"{kind}: {first}" if first else kind
    where = place(error, *classes)
    return text if where is None else f"{text} ({where})"


def place(error: BaseException, *classes: type) -> str | None:
    """Return the innermost line of a plugin that an error has passed, as ``my_rule.py:12``.

    None where no plugin had a part in it. The classes are those of :func:`reason`.
    """
    plugins = {plugin.module.partition(".")[0] for plugin in registry().plugins}
    modules = {cls.__module__ for cls in classes}
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_globals.get("__name__", "")
        top = name.partition(".")[0]
        if (top in plugins and top != "lbench") or name in modules:
            found = f"{_file(frame, name)}:{line}"
    return found


def passed_on(error: BaseException, *classes: type) -> bool:
    """Return whether an error is none of a rule's: the system's, or one that ends lbench itself.

    The system's are errors of a full disk, and those that no plugin had a part in: a file that a
    plugin cannot open is the plugin's error. The classes are those of :func:`reason`.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    outside = isinstance(error, OSError) or not isinstance(error, Exception)
    return outside and place(error, *classes) is None


def _file(frame: FrameType, module: str) -> str:
    """Return the file of a frame from the directory on the path from which it was imported."""
    parts = frame.f_code.co_filename.split("/")
    inner = module.count(".") + 1 + (parts[-1] == "__init__.py")
    return "/".join(parts[-inner:])


def _memory(error: BaseException) -> bool:
    """Return whether memory has run out: of Python, of a GPU, or of PyTorch on the CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
