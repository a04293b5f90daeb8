"""Errors that the code of a plugin raised, and the lines of its files that raised them."""

from __future__ import annotations

import errno
import traceback
from types import FrameType

from lbench.errors import LbenchError
from lbench.registry import registry


def reason(error: BaseException, *classes: type) -> str:
    """Return one line with the kind and message of an error and the plugin's line that raised it.

    Args:
        classes: further classes whose modules count as plugins, beside the registered plugins.
    """
    message = error.message if isinstance(error, LbenchError) else str(error)
    first = (message.splitlines() or [""])[0]
    kind = "out of memory" if _memory(error) else type(error).__name__
    text = f"{kind}: {first}" if first else kind
    where = plugin_line(error, *classes)
    return text if where is None else f"{text} ({where})"


def plugin_line(error: BaseException, *classes: type) -> str | None:
    """Return the innermost line of a plugin in the error's traceback, as ``my_rule.py:12``.

    It is None where the traceback has no plugin. ``classes`` are those of :func:`reason`.
    """
    plugins = {plugin.module.partition(".")[0] for plugin in registry().plugins}
    modules = {cls.__module__ for cls in classes}
    innermost = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_globals.get("__name__", "")
        top = name.partition(".")[0]
        if (top in plugins and top != "lbench") or name in modules:
            innermost = f"{_file(frame, name)}:{line}"
    return innermost


def outside_plugins(error: BaseException, *classes: type) -> bool:
    """Return whether no plugin is to blame: the system raised the error, or it ends lbench itself.

    Errors of the system are those of a full disk, and any OSError without a plugin in its
    traceback: a file that a plugin cannot open is the plugin's error. ``classes`` are those of
    :func:`reason`.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    outside = isinstance(error, OSError) or not isinstance(error, Exception)
    return outside and plugin_line(error, *classes) is None


def _file(frame: FrameType, module: str) -> str:
    """Return the file of a frame, relative to the directory on the path that it came from."""
    parts = frame.f_code.co_filename.split("/")
    inner = module.count(".") + 1 + (parts[-1] == "__init__.py")
    return "/".join(parts[-inner:])


def _memory(error: BaseException) -> bool:
    """Return whether the error is one of exhausted memory, of Python, a GPU, or PyTorch's CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
