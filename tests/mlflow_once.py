"""MLflow's tables are made once for all tests: MLflow itself needs seconds for them.

The first store that wants the tables has them made by MLflow, in a file that is kept; every other
store gets a copy of this file. It is shared by all processes of a test run.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import filelock
from sqlalchemy import make_url

template: Path | None = None
"""The file with the tables, made on first use; None for tables made anew each time."""


def use(path: Path | None) -> None:
    """Take the tables from this file from now on."""
    global template
    if path is not None and template is None:
        from lbench.store import mlflow_view

        made_by_mlflow = mlflow_view._create

        def create(uri: str) -> None:
            database = make_url(uri).database
            if template is None or not uri.startswith("sqlite") or not database:
                made_by_mlflow(uri)
                return
            with filelock.FileLock(f"{template}.lock"):
                if not template.exists():
                    made_by_mlflow(uri)
                    _keep(Path(database), template)
                    return
            shutil.copy(template, database)

        mlflow_view._create = create
    template = path


def _keep(made: Path, template: Path) -> None:
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(made, f"{template}.part")
    Path(f"{template}.part").replace(template)
