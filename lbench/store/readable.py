"""Databases of a home that may not be written: copied for as long as a command reads them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from lbench.errors import StoreError, refused
from lbench.home import Home

BESIDE = ("-wal", "-shm")
"""Endings of the files in which SQLite writes ahead."""


@contextmanager
def readable(home: Home) -> Iterator[Home]:
    """Yield a home whose databases can be opened, for a command that only reads.

    SQLite writes beside a database even to read it, and an older record is brought up to date
    when it is opened. Where that is not possible, the home that is yielded has temporary copies.

    Raises:
        StoreError: a database may not be read.
    """
    files = [home.store_file, home.searches]
    shut = [file for file in files if file is not None and file.exists() and not _writable(file)]
    if not shut:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="lbench-") as folder:
        copies = {file: Path(folder) / f"{at}.db" for at, file in enumerate(shut)}
        for file, copy in copies.items():
            try:
                _copy(file, copy)
            except OSError as error:
                raise StoreError(
                    f"The store of {home.root} cannot be read: {refused(error)}.",
                    "All results are kept in the run directories. Ask their owner for permission "
                    "to read; or copy what you may read, name the copy with --home and run: "
                    "lbench sync",
                ) from error
        yield replace(home, copies=copies)


def _writable(file: Path) -> bool:
    beside = [path for end in BESIDE if (path := Path(f"{file}{end}")).exists()]
    return all(os.access(path, os.W_OK) for path in (file.parent, file, *beside))


def _copy(file: Path, copy: Path) -> None:
    try:
        # A consistent copy also while another process writes.
        with (
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error:
        # Without a writer's files beside it, it cannot be opened without creating them.
        # Opening the copy reports damage.
        for end in ("", *BESIDE):
            if (part := Path(f"{file}{end}")).exists():
                shutil.copyfile(part, f"{copy}{end}")
