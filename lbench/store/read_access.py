"""Read access to a home whose databases may not be written: they are copied for the command."""

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

LOG_ENDINGS = ("-wal", "-shm")
"""Endings of the files of SQLite's write-ahead log."""


@contextmanager
def read_access(home: Home) -> Iterator[Home]:
    """Yield a home whose databases can be opened, for a command that only reads.

    SQLite writes files next to a database even to read it, and an older record is upgraded when
    it is opened. Where that is not possible, the home that is yielded has temporary copies.

    Raises:
        StoreError: a database may not be read.
    """
    files = [home.store_file, home.searches]
    readonly = [f for f in files if f is not None and f.exists() and not _writable(f)]
    if not readonly:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="lbench-") as folder:
        copies = {file: Path(folder) / f"{index}.db" for index, file in enumerate(readonly)}
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
    log_files = [path for end in LOG_ENDINGS if (path := Path(f"{file}{end}")).exists()]
    return all(os.access(path, os.W_OK) for path in (file.parent, file, *log_files))


def _copy(file: Path, copy: Path) -> None:
    try:
        # SQLite's backup is consistent also while another process writes.
        with (
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error:
        # Without the files of the write-ahead log, SQLite must create them to open the database.
        # A damaged database is reported when the copy is opened.
        for end in ("", *LOG_ENDINGS):
            if (part := Path(f"{file}{end}")).exists():
                shutil.copyfile(part, f"{copy}{end}")
