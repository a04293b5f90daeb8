from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbench.home import Home
from lbench.store.record import Record


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LBENCH_STORE", raising=False)
    monkeypatch.delenv("LBENCH_HOME", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def record(home: Home) -> Iterator[Record]:
    with Record.open(home) as opened:
        yield opened


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the tables of MLflow and lbench, created once: MLflow needs seconds."""
    from lbench.store.mlflow_view import MlflowView

    made = Home(tmp_path_factory.mktemp("template") / "home")
    MlflowView(made)
    file = made.root / "store.db"
    with Record.open(made) as opened, opened._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def mlflow_home(home: Home, template: Path) -> Home:
    home.root.mkdir()
    shutil.copy(template, home.root / "store.db")
    return home
