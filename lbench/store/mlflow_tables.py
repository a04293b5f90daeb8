"""MLflow's tables in a SQLite store: all of them or none, whatever happens meanwhile."""

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
"""Creates MLflow's tables in a file that is not there yet."""


def create_tables(file: Path, create: Create, folder: Path) -> None:
    """Creates MLflow's tables in a store.

    MLflow takes seconds and many transactions for it, and cannot go on where it was killed. So it
    does so in a file of its own, from which they come here in one transaction.

    Args:
        file: the store's; it may be absent.
        folder: for the other file; nobody else creates anything there at this time.
    """
    for left in folder.glob(f"{PREFIX}*"):
        shutil.rmtree(left)  # by whoever was killed
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as beside:
        made = Path(beside) / "made.db"
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
            # Without those that are computed from others.
            columns = store.execute(f'PRAGMA made.table_info("{name}")').fetchall()
            named = ", ".join(f'"{column[1]}"' for column in columns)
            store.execute(f'INSERT INTO main."{name}" ({named}) SELECT {named} FROM made."{name}"')
