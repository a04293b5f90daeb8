from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbench.home import Home
from lbench.studies.storage import storage
from tests.report.studies import without_figures
from tests.store.conftest import template as template


@pytest.fixture(scope="package", autouse=True)
def undrawn() -> Iterator[None]:
    """Reports of this process have no figures: the tests of reports are about them."""
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        yield


@pytest.fixture(scope="session")
def empty_searches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an empty Optuna storage once, which takes longer than most tests."""
    folder = tmp_path_factory.mktemp("storage")
    storage(Home(folder)).engine.dispose()
    return folder / "optuna.db"


@pytest.fixture
def searches(tmp_path: Path, empty_searches: Path) -> None:
    """Copy an empty Optuna storage into the home ``tmp_path``."""
    shutil.copy(empty_searches, tmp_path / "optuna.db")
