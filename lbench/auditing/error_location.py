"""The line of an author's code at which an error was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

from lbench.auditing.walk import is_authors


def describe_error(error: BaseException) -> str:
    """Return ``train.py, line 3: TypeError: …``, with the innermost line of the author's code.

    The file and the line are left out where the traceback has no line of the author's code.
    """
    location = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_authors(frame.f_globals.get("__name__", "")):
            location = f"{Path(frame.f_code.co_filename).name}, line {line}: "
    return f"{location}{type(error).__name__}: {error}"
