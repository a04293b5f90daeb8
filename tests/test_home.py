"""A home is created, checked and found as --home and the environment say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbench.cli.compare import command as compare
from lbench.errors import UsageError
from lbench.home import Home


@pytest.fixture(autouse=True)
def _no_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LBENCH_HOME", raising=False)
    monkeypatch.delenv("LBENCH_STORE", raising=False)


def test_a_tilde_is_the_users_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.at(Path("~/x")).root == tmp_path / "x"
    monkeypatch.setenv("LBENCH_HOME", "~/y")
    assert Home.at().root == tmp_path / "y"
    monkeypatch.setenv("LBENCH_HOME", "~no-such-user/y")
    with pytest.raises(UsageError, match="~no-such-user"):
        Home.at()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_home_that_is_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LBENCH_HOME", str(tmp_path / name))
    error = CliRunner().invoke(compare).exception
    assert isinstance(error, UsageError)
    assert str(tmp_path / name) in error.message
    assert "Not a directory" in error.message
    assert "--home" in error.hint
    with pytest.raises(UsageError, match="cannot be used"):
        Home(tmp_path / name).prepare()


def test_a_home_without_read_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match="Permission denied"):
        Home.at(tmp_path)


def test_a_home_without_write_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="no permission to write"):
        Home(tmp_path).prepare()


def test_a_home_is_created_when_it_is_prepared(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "a" / "b")
    assert not home.root.exists()
    home.prepare()
    home.prepare()
    assert home.runs.is_dir()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///a%20b.db", "a b.db"),
        ("sqlite:///a.db?mode=ro", "a.db"),
        ("sqlite+pysqlite:///a.db", "a.db"),
    ],
)
def test_a_store_outside_the_home_is_found_by_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LBENCH_STORE", url)
    assert Home(tmp_path).store_file == Path(name)
    assert not Home(tmp_path).has_store()
    (tmp_path / name).write_text("")
    assert not Home(tmp_path).has_store()
    (tmp_path / name).write_text("a table")
    assert Home(tmp_path).has_store()


def test_a_database_server_has_no_file_and_counts_as_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBENCH_STORE", "postgresql+psycopg://h/d")
    assert Home(tmp_path).store_file is None
    assert Home(tmp_path).has_store()
