"""Creates MLflow's tables once for all tests, because MLflow needs seconds to create them.

For the first store MLflow creates the tables, and a copy of the file is stored; every other store
gets a copy of this copy. All processes of a test run share it.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import filelock
from sqlalchemy import make_url

template: Path | None = None
"""The file with the tables, which the first use creates; None to create the tables each time."""


def use(path: Path | None) -> None:
    """Copy the tables from this file from now on."""
    global template
    if path is not None and template is None:
        from lbench.store import mlflow_view

        mlflow_create = mlflow_view._create

        def create(uri: str) -> None:
            database = make_url(uri).database
            if template is None or not uri.startswith("sqlite") or not database:
                mlflow_create(uri)
                return
            with filelock.FileLock(f"{template}.lock"):
                if not template.exists():
                    mlflow_create(uri)
                    _copy(Path(database), template)
                    return
            shutil.copy(template, database)

        mlflow_view._create = create
    template = path


def _copy(database: Path, template: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(database, f"{template}.part")
    Path(f"{template}.part").replace(template)
