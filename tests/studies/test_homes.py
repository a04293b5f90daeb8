"""Homes with unusual names, read-only homes, and homes with missing files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
import pytest

from lbench.errors import UsageError
from lbench.home import Home
from lbench.rundir import RunDir, _held_elsewhere
from lbench.store.engine import writing
from lbench.store.record import Record
from lbench.studies.storage import storage
from tests import forked
from tests.forked import run
from tests.readonly import mount_read_only, without_write_permission
from tests.studies.helper import ALONE, Output, lbench

NAMES = [
    "run%41", "quest?x=1", "pct%20x", "brace{x}", "a#b", "[glob]*", "ünï cöde", "quote'\"",
    "$x;y&z=1", "back\\slash", "%(x)s", "new\nline", "file:x", ":memory:",
]  # fmt: skip
SEARCH = """
title = "Mine"
question = "Which?"
datasets = ["digits"]
rules = ["bp"]
seeds = 1
kind = "search"
set = { epochs = 1, batch = 64, "net.widths" = [20], weight_decay = 0.0, optimizer = "adam" }
[search]
trials = 1
space = { lr = [0.01] }
"""
RUN = [
    "run", "--rule", "bp", "--dataset", "digits", "--epochs", "1", "--net", "widths=20",
    "--threads", "1",
]  # fmt: skip

EMPTIED = pytest.param("emptied", marks=[pytest.mark.slow, pytest.mark.thorough])
"""An emptied file is reported and rebuilt like a removed one; tox runs both cases."""


@pytest.mark.parametrize("name", NAMES)
def test_a_search_is_stored_inside_the_home(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    optuna.create_study(study_name=name, storage=storage(home))
    assert optuna.load_study(study_name=name, storage=storage(home)).study_name == name
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "optuna.db" in {path.name for path in home.root.iterdir()}


@dataclass(frozen=True)
class Searched:
    """A home with a run and a completed study of one search.

    Args:
        home: the home, whose name has many special characters.
        study: path of the study's file.
    """

    home: Home
    study: str


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    home = folder / "run%41 ?x=1 {x} a#b [b] * ö' \"$x;y\\z&"
    study = folder / "a b{0}#%41.toml"
    study.write_text(SEARCH)
    for words in (RUN, ["study", str(study), *ALONE]):
        output = lbench(*words, "--home", str(home))
        assert output.code == 0, output.err
        if words[0] == "run":
            assert f"lbench ui --home {shlex.quote(str(home))}\n" in output.err
    assert {path.name for path in folder.iterdir()} == {home.name, study.name}
    return Searched(Home(home), str(study))


@pytest.mark.slow
@pytest.mark.thorough
def test_every_command_works_in_a_home_of_any_name(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, study = searched.home.root, searched.study
    monkeypatch.setenv("LBENCH_HOME", str(home))
    for words in (
        ["study", study, "--status"],
        ["report", study, "--html", str(home / "page.html")],
        ["sync"],
    ):
        output = lbench(*words)
        assert output.code == 0, (words, output.err)
    assert len(lbench("compare", "--json").json) == 3
    assert {path.name for path in home.parent.iterdir()} == {home.name, Path(study).name}
    page = (home / "reports" / Path(study).stem / "report.html").read_text()
    assert page == (home / "page.html").read_text()


def lbench_in_read_only(home: Path) -> None:
    if os.geteuid() == 0:
        mount_read_only(home)
    forked.lbench()


@pytest.fixture(params=["closed", "left by a writer that was killed"])
def reading(
    request: pytest.FixtureRequest, searched: Searched, tmp_path: Path
) -> Iterator[Callable[..., Output]]:
    """Return a function that runs a command on a home without write permission."""
    home, work = tmp_path / "home", shutil.copytree(searched.home.root, tmp_path / "work")
    with Record.open(Home(work)) as record:
        with writing(record._engine) as connection:
            connection.exec_driver_sql("UPDATE lbench_cells SET variant = 'last written'")
        if request.param != "closed":
            shutil.copytree(work, home, ignore=shutil.ignore_patterns("*-shm"))
            assert (home / "store.db-wal").stat().st_size
    if request.param == "closed":
        shutil.copytree(work, home)

    def command(*words: str) -> Output:
        output = run(*words, "--home", str(home), does=partial(lbench_in_read_only, home))
        if "cannot mount" in output.stderr:
            pytest.skip("the system does not permit mounting a folder")
        return Output(output.returncode, output.stdout, output.stderr)

    with without_write_permission(home):
        before = {path: path.stat().st_mtime for path in home.rglob("*")}
        yield command
        assert {path: path.stat().st_mtime for path in home.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.thorough
def test_commands_that_only_read_work_in_a_read_only_home(
    reading: Callable[..., Output], searched: Searched, tmp_path: Path
) -> None:
    cells = reading("compare", "--json").json
    assert [cell["variant"] for cell in cells] == ["last written"] * 3
    (point,) = reading("study", searched.study, "--status", "--json").json["points"]
    assert point["trials"] == {"complete": 1}
    assert point["final_runs"] == {"finished": 1}
    refused = reading("report", searched.study)
    assert refused.code == 2
    assert f"lbench report {shlex.quote(searched.study)} --home " in refused.err
    assert refused.err.strip().endswith(" --output FOLDER")
    report = tmp_path / "report"
    assert reading("report", searched.study, "--output", str(report)).code == 0
    assert (report / "report.html").exists()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # The command gets as far as the port, which is taken.
        ui = reading("ui", "--port", str(taken.getsockname()[1]))
    assert "address already in use" in ui.err


def test_commands_that_write_refuse_a_read_only_home(reading: Callable[..., Output]) -> None:
    for words in (["sync"], ["run", "--rule", "bp", "--dataset", "digits", "--epochs", "1"]):
        refused = reading(*words)
        assert refused.code == 2
        assert "cannot be used: no permission to write" in refused.err
        assert "--home" in refused.err


def test_a_study_refuses_a_read_only_home_before_it_times_its_steps(
    reading: Callable[..., Output], searched: Searched
) -> None:
    tune = ["tune", "--rule", "bp", "--dataset", "digits", "--trials", "1"]
    for words in (["study", searched.study], tune):
        refused = reading(*words)
        assert refused.code == 2
        assert "cannot be used: no permission to write" in refused.err
        assert "Estimated time" not in refused.err


def test_a_home_is_checked_without_being_created(tmp_path: Path) -> None:
    Home(tmp_path / "a" / "home").check()
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is no directory"):
        Home(tmp_path / "file" / "home").check()


def test_a_home_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    home = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")
    output = lbench("compare", "--home", home, "--json")
    assert output.code == 2
    assert json.loads(output.out)["error"]["message"].endswith("r\ufffd is not UTF-8.")


@pytest.mark.parametrize("name", ["..toml", "...toml"])
def test_a_study_file_with_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SEARCH)
    output = lbench("study", str(tmp_path / name), "--home", str(tmp_path / "home"))
    assert output.code == 2
    assert "not a valid name for a study's file" in output.err


def test_a_read_only_lock_is_recognised_as_held(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    with run_dir.locked():
        assert _held_elsewhere(run_dir.path / "lock")
    assert not _held_elsewhere(run_dir.path / "lock")


@pytest.fixture
def copied(searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a copy of the home, which commands use by default."""
    home = Home(shutil.copytree(searched.home.root, tmp_path / "home"))
    monkeypatch.setenv("LBENCH_HOME", str(home.root))
    return home


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+pysqlite://",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)  # fmt: skip
def test_a_store_in_memory_is_refused(
    copied: Home, searched: Searched, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LBENCH_STORE", url)
    for words in (["compare"], ["study", searched.study, "--status"], ["sync"], RUN):
        refused = lbench(*words)
        assert refused.code == 4, words
        assert "names no file" in refused.err
        assert "Write sqlite:///FILE" in refused.err


def lose(file: Path, how: str) -> None:
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    if how == "emptied":
        file.touch()


@pytest.mark.parametrize("how", ["removed", EMPTIED])
def test_a_lost_store_is_reported_and_sync_rebuilds_it(
    copied: Home, searched: Searched, how: str
) -> None:
    lose(copied.root / "store.db", how)
    before = sorted(copied.root.iterdir())
    for words in (
        ["compare"],
        ["compare", "bp"],
        ["study", searched.study, "--status"],
        ["report", searched.study],
        ["ui"],
    ):
        output = lbench(*words)
        assert output.code == 4, words
        assert "has 3 run directories, but the store" in output.err
        assert f"lbench sync --home {copied.root}" in output.err or "lbench sync\n" in output.err
    assert sorted(copied.root.iterdir()) == before
    assert lbench("sync").code == 0
    assert len(lbench("compare", "--json").json) == 3
    assert lbench("report", searched.study).code == 0


@pytest.mark.parametrize("how", ["removed", EMPTIED])
def test_a_new_store_reports_the_runs_that_it_lacks(copied: Home, how: str) -> None:
    lose(copied.root / "store.db", how)
    for words in (RUN, ["compare"]):
        output = lbench(*words)
        assert output.code == 0
        assert f"The store lacks 2 run directories of {copied.runs}" in output.err
    assert lbench("sync").code == 0
    for words in (RUN, ["compare"]):
        assert "lacks" not in lbench(*words).err


def test_a_home_with_unrecorded_runs_does_not_count_as_empty(copied: Home) -> None:
    lose(copied.root / "store.db", "removed")
    with Record.open(copied) as record:
        assert record.empty()
    output = lbench("compare")
    assert output.code == 4
    assert "knows none of them" in output.err


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("optuna.db", "removed"), ("studies/*/plan.json", "removed"),
        pytest.param("optuna.db", *EMPTIED.values, marks=EMPTIED.marks),
    ],
)  # fmt: skip
def test_a_lost_file_of_a_study_is_reported_and_the_command_rebuilds_it(
    copied: Home, searched: Searched, name: str, how: str
) -> None:
    (file,) = copied.root.glob(name)
    lose(file, how)
    for words in (["report", searched.study], ["study", searched.study, "--collect"]):
        output = lbench(*words)
        assert output.code == 1
        assert str(file) in output.err
        assert "Run it again with: lbench study" in output.err
    assert str(file) in lbench("study", searched.study, "--status").err
    again = lbench("study", searched.study, *ALONE, "--json")
    assert again.json["trained"] == 0
    assert ("begins anew" in again.err) == (file.name == "optuna.db")
    assert lbench("report", searched.study).code == 0


def test_lost_memberships_are_read_from_the_record(copied: Home, searched: Searched) -> None:
    (file,) = copied.studies.glob("*/members.jsonl")
    before = lbench("study", searched.study, "--status", "--json").json
    file.unlink()
    assert lbench("study", searched.study, "--status", "--json").json == before
    assert lbench("report", searched.study).code == 0


def test_a_continued_study_reports_unreadable_lines_of_its_memberships_once(
    copied: Home, searched: Searched
) -> None:
    (file,) = copied.studies.glob("*/members.jsonl")
    lines = len(file.read_bytes().splitlines())
    with file.open("ab") as members:
        members.write(b'{"study": "cut\n')
    again = lbench("study", searched.study, *ALONE, "--json")
    assert again.json["trained"] == 0
    note = f"{file}: 1 line cannot be read and is left out (line {lines + 1})"
    assert again.err.count(note) == 1
