"""MLflow's tables are created in a store all at once or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lbench.home import Home
from lbench.store import mlflow_view
from lbench.store.mlflow_page import has_mlflow
from lbench.store.mlflow_tables import create_tables
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record


def make(path: Path) -> None:
    with closing(sqlite3.connect(path)) as made:
        made.execute(
            "CREATE TABLE experiments (id INTEGER PRIMARY KEY, name TEXT UNIQUE, "
            "length INTEGER AS (length(name)))"
        )
        made.execute("CREATE INDEX by_name ON experiments (name)")
        made.execute("INSERT INTO experiments (id, name) VALUES (7, 'one')")
        made.commit()


def content(file: Path) -> dict[str, str]:
    with closing(sqlite3.connect(file)) as store:
        return dict(store.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_tables_indices_and_rows_are_added_to_the_existing_ones(home: Home) -> None:
    Record.open(home).close()
    file, before = home.root / "store.db", content(home.root / "store.db")
    create_tables(file, make, home.root)
    assert content(file).keys() == {*before, "experiments", "by_name"}
    with closing(sqlite3.connect(file)) as store:
        assert store.execute("SELECT * FROM experiments").fetchall() == [(7, "one", 3)]


def test_a_killed_creation_leaves_the_store_unchanged(home: Home) -> None:
    Record.open(home).close()
    file, before = home.root / "store.db", content(home.root / "store.db")

    def dies(path: Path) -> None:
        make(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_tables(file, dies, home.root)
    assert content(file) == before
    assert not has_mlflow(home)
    (home.root / ".mlflow-of-a-killed-one").mkdir()
    create_tables(file, make, home.root)
    assert [path.name for path in home.root.iterdir() if path.name.startswith(".mlflow")] == []
    assert has_mlflow(home)


def test_a_failed_copy_leaves_the_store_unchanged(home: Home) -> None:
    Record.open(home).close()
    file = home.root / "store.db"
    with closing(sqlite3.connect(file)) as store:
        store.execute("CREATE TABLE by_name (x)")
    before = content(file)
    with pytest.raises(sqlite3.OperationalError, match="by_name"):
        create_tables(file, make, home.root)
    assert content(file) == before


def test_a_kill_during_mlflows_own_creation_leaves_no_tables(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow commits dozens of times, and cannot continue after a kill."""

    def halfway(uri: str) -> None:
        make(Path(uri.partition(":///")[2]))
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_view, "_create", halfway)
    with pytest.raises(KeyboardInterrupt):
        MlflowView(home)
    assert not has_mlflow(home)
    assert [path.name for path in home.root.iterdir() if path.name.startswith(".mlflow")] == []
