"""The creation of MLflow's tables in a SQLite store: all of them or none, also after a kill."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from lbench.store.engine import BUSY_SECONDS

PREFIX = ".mlflow-"
Create = Callable[[Path], None]
"""A function that creates MLflow's tables in a new file."""


def create_tables(file: Path, create: Create, folder: Path) -> None:
    """Create MLflow's tables in a store.

    MLflow takes seconds and many transactions for this, and cannot continue after a kill. So it
    creates the tables in a temporary file, from which they are copied in one transaction.

    Args:
        file: file of the store; it may be absent.
        folder: folder for the temporary file; the caller excludes other processes from it.
    """
    for stale in folder.glob(f"{PREFIX}*"):
        shutil.rmtree(stale)  # a process was killed before it could remove its folder
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as temporary:
        made = Path(temporary) / "made.db"
        create(made)
        connecting = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        with closing(connecting) as store:
            store.execute("ATTACH DATABASE ? AS made", (str(made),))
            store.execute("BEGIN IMMEDIATE")
            try:
                _copy(store)
                store.execute("COMMIT")
            except BaseException:
                store.execute("ROLLBACK")
                raise


def _copy(store: sqlite3.Connection) -> None:
    parts = store.execute(
        "SELECT type, name, sql FROM made.sqlite_master WHERE sql IS NOT NULL "
        "AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table' DESC, rowid"
    ).fetchall()
    for kind, name, statement in parts:
        store.execute(statement)
        if kind == "table":
            # table_info leaves out columns that are computed from others.
            columns = store.execute(f'PRAGMA made.table_info("{name}")').fetchall()
            named = ", ".join(f'"{column[1]}"' for column in columns)
            store.execute(f'INSERT INTO main."{name}" ({named}) SELECT {named} FROM made."{name}"')
