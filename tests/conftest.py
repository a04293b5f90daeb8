"""Fixtures of all tests: worker processes are forked, and MLflow's tables are created once."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lbench.threads import wait_passively
from tests import forked

# Waiting threads must not take cores from the other test process; the helpers import torch.
wait_passively()

FORKED = {"api", "auditing", "cli", "execute", "plugins", "report", "training", "studies"}
"""Rooms whose many imports make it worthwhile to fork their test processes too."""
FORKING = {"api", "cli", "execute", "training", "studies"}
"""Rooms whose first tests need the server of `tests.forked`, which starts before them."""

LONG = {"test_types.py", "test_report.py", "test_running.py", "test_study_report.py"}
"""Modules that take longer than the other modules of their room."""


def pytest_configure() -> None:
    """Refuse an installation that is older than the plugins of this tree.

    Raises:
        UsageError: the installed lbench lacks a plugin that ``pyproject.toml`` declares.
    """
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    declared = tomllib.loads(pyproject.read_text())["project"]["entry-points"]["lbench"]
    missing = declared.keys() - metadata.entry_points(group="lbench").names
    if missing:
        raise pytest.UsageError(
            f"The installed lbench lacks the plugin {min(missing)}. Install this tree again: "
            "python -m pip install --no-deps -e ."
        )


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Fork the test processes of some rooms, unless coverage must record the imports."""
    paths = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    rooms = [Path(__file__).parent / room for room in FORKED]
    forkable = all(any(path.is_relative_to(room) for room in rooms) for path in paths)
    if config.getoption("cov_source", None) or not forkable or not forked.shareable(forked.SERVER):
        return
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    forked.start_server(folder)
    python = shlex.join([sys.executable, str(Path(__file__).with_name("interpreter.py"))])
    specs[:] = [type(spec)(f"{spec}//id={spec.id}//python={python} {folder}") for spec in specs]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow modules, so that no process runs one of them alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)


@contextlib.contextmanager
def _as_covered_as(item: pytest.Item) -> Iterator[None]:
    """Pause coverage where a test wants none: pytest-cov does so in the test's call alone."""
    plugin: Any = item.config.pluginmanager.getplugin("_cov")
    controller = plugin and item.get_closest_marker("no_cover") and plugin.cov_controller
    if not controller:
        yield
        return
    controller.pause()
    try:
        yield
    finally:
        controller.resume()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Make what a test without coverage needs without it too."""
    with _as_covered_as(item):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _quick_starts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    forked.use(shared / "mlflow.db")
    if any(item.path.parent.name in FORKING for item in request.session.items):
        forked.start_server(shared)


@pytest.fixture
def forked_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the conformance kit resume rules in forked processes."""
    from tests import resuming

    monkeypatch.setattr("lbench.testing.practice._child", resuming.child)


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that every user may enter, unlike ``tmp_path``."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
