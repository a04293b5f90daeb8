"""Where in an author's code an error was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

from lbench.auditing.walk import is_authors


def describe_error(error: BaseException) -> str:
    """Return ``train.py, line 3: TypeError: …``, with the innermost line of the author's code.

    Where none of it is in the traceback, there is no file and no line.
    """
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_authors(frame.f_globals.get("__name__", "")):
            where = f"{Path(frame.f_code.co_filename).name}, line {line}: "
    return f"{where}{type(error).__name__}: {error}"
