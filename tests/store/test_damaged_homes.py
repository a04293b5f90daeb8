"""Files of a home that are not what lbench wrote: named, and the rest is read all the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.report.summary import metrics
from lbench.store.journal import Journal
from lbench.store.record import Record
from lbench.store.sync import sync
from tests.permissions import NOBODY, POSIX, no_privileges
from tests.store.helper import write_run
from tests.study.helper import Output, lbench

Damage = Callable[[Path], None]


def holds(content: bytes) -> Damage:
    def damage(file: Path) -> None:
        file.write_bytes(content)

    return damage


def says(**changes: Any) -> Damage:
    """Changes to a JSON object; the value "removed" takes a name away."""

    def damage(file: Path) -> None:
        content = json.loads(file.read_text()) | changes
        kept = {name: value for name, value in content.items() if value != "removed"}
        file.write_text(json.dumps(kept))

    return damage


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / "nowhere")


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGES = {
    "no error": ("result.json", says(test_error="removed"), "test_error is missing"),
    "null": ("result.json", says(test_error=None), "test_error is null"),
    "text": ("result.json", says(test_error="bad"), "test_error: input should be a valid number"),
    "number in text": ("result.json", says(test_error="7.5"), "test_error: input should be"),
    "NaN": ("result.json", says(test_error=float("nan")), "NaN is no number"),
    "below 0": ("result.json", says(test_error=-1.0), "greater than or equal to 0"),
    "seconds": ("result.json", says(seconds=[1]), "seconds: input should be a valid dictionary"),
    "large": ("result.json", says(steps=10**30), "steps: input should be less than"),
    "half a character": ("result.json", says(reason="\ud800"), "surrogates not allowed"),
    "cut": ("result.json", holds(b'{"status": "fini'), "Unterminated string"),
    "bytes": ("result.json", holds(b'{"status": "\xff"}'), "invalid start byte"),
    "deep": ("result.json", holds(b"[" * 100_000), "maximum recursion depth"),
    "directory": ("result.json", directory, "Is a directory"),
    "link": ("result.json", link, "a link to a file that is not there"),
    "loop": ("result.json", loop, "Too many levels of symbolic links"),
    "spec list": ("spec.json", holds(b"[]"), "it is no JSON object"),
    "spec directory": ("spec.json", directory, "Is a directory"),
    "spec link": ("spec.json", link, "a link to a file that is not there"),
    "spec seed": ("spec.json", says(seed="one"), "seed: input should be a valid integer"),
    "spec environment": ("spec.json", says(environment=[1]), "environment: input should be"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_sync_names_what_it_cannot_read_and_takes_the_rest(home: Home, name: str) -> None:
    file, damage, said = DAMAGES[name]
    for seed in range(3):
        write_run(home, seed)
    broken = home.runs / next(home.runs.iterdir()).name / "seed-1"
    damage(broken / file)
    done = lbench("sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert "2 runs of 1 cell: 2 finished." in done.out
    assert f"Left out: {broken / file} is damaged: " in done.err
    assert said in done.err
    assert "store" not in done.err
    report = lbench("sync", "--no-mlflow", "--json", "--home", str(home.root))
    assert (report.code, list(report.json["unreadable"])) == (1, [str(broken)])
    cells = lbench("compare", "--json", "--home", str(home.root)).json
    assert [cell["test_error"]["n"] for cell in cells] == [2]


@pytest.mark.parametrize("name", DAMAGES)
def test_what_was_recorded_before_is_still_compared(home: Home, name: str) -> None:
    file, damage, _ = DAMAGES[name]
    write_run(home)
    sync(home, metrics, mlflow=False)
    damage(home.runs / next(home.runs.iterdir()).name / "seed-0" / file)
    done = lbench("compare", "lfnn_l/mnist", "--json", "--home", str(home.root))
    assert (done.code, len(done.json["cells"])) == (0, 1)


@pytest.mark.parametrize("damage", [directory, loop, link])
def test_a_directory_in_place_of_a_journal_costs_its_curves_alone(
    mlflow_home: Home, damage: Damage
) -> None:
    damage(write_run(mlflow_home).journal)
    done = lbench("sync", "--home", str(mlflow_home.root))
    assert (done.code, done.err) == (0, "")


def test_a_run_directory_that_is_a_link_to_nothing_is_named(home: Home) -> None:
    run_dir = write_run(home).path
    shutil.rmtree(run_dir)
    run_dir.symlink_to(home.root / "nowhere")
    write_run(home, 1)
    done = lbench("sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert "1 run of 1 cell" in done.out
    assert str(run_dir) in done.err


@POSIX
@pytest.mark.parametrize(
    ("closed", "mode", "taken"),
    [
        ("cell/seed-1", 0, 2),
        ("cell/seed-1", 0o444, 2),
        ("cell/seed-1/spec.json", 0, 2),
        ("cell/seed-1/result.json", 0, 2),
        ("cell/seed-1/lock", 0, 2),
        ("cell", 0, 0),
        ("cell", 0o444, 0),
        ("", 0o444, 0),
    ],
)
def test_what_may_not_be_read_is_not_called_damaged(
    shared: Path, closed: str, mode: int, taken: int
) -> None:
    home = Home(shared / "home")
    for seed in range(3):
        (write_run(home, seed).path / "lock").touch()
    (cell,) = home.runs.iterdir()
    cell.rename(home.runs / "cell")
    path = home.runs / closed
    done = as_nobody(home, path, mode, "sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert (f"{taken} runs of 1 cell" in done.out) == bool(taken)
    assert f"Left out: There is no permission to read {path}.\n" in done.err
    assert "damaged" not in done.err


@POSIX
@pytest.mark.parametrize("closed", ["", "s", "s/members.jsonl"])
@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_study_that_may_not_be_read_is_named(shared: Path, closed: str, mode: int) -> None:
    home = Home(shared / "home")
    write_run(home)
    journal = Journal(home, "s").path
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps(MEMBER) + "\n")
    path = home.studies / closed
    done = as_nobody(home, path, mode, "sync", "--no-mlflow", "--home", str(home.root))
    readable = path == journal and mode
    assert done.code == (0 if readable else 1)
    assert (str(path) in done.err) != bool(readable)
    assert "damaged" not in done.err


@POSIX
def test_run_directories_that_may_not_be_listed_are_named(shared: Path) -> None:
    home = Home(shared / "home")
    write_run(home)
    done = as_nobody(home, home.runs, 0, "sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert f"Permission denied: {home.runs}" in done.err


@POSIX
def test_a_plan_that_may_not_be_read_is_not_called_damaged(shared: Path) -> None:
    home = Home(shared / "home")
    plan = home.studies / "screen" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text("{}")
    done = as_nobody(home, plan, 0, "study", "screen", "--status", "--home", str(home.root))
    assert done.code == 1
    assert f"There is no permission to read {plan}." in done.err
    assert "damaged" not in done.err


def as_nobody(home: Home, closed: Path, mode: int, *words: str) -> Output:
    """A command of a user who owns all of a home, and took a permission from himself."""
    assert lbench(*words).code == 0, "everything is imported"
    if os.geteuid() == 0:
        for path in (home.root, *home.root.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    before = closed.stat().st_mode
    closed.chmod(mode)
    try:
        with no_privileges():
            return lbench(*words)
    finally:
        closed.chmod(before)


MEMBER = {
    "study": "s", "point": "p", "search": "", "role": "final", "trial": -1, "seed": 0,
    "cell": "c", "run": "r",
}  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b'{"study": "\xff"}', b"[]", b"7", b'{"study": "cut', b"[" * 100_000,
        json.dumps({**MEMBER, "point": ["p"]}).encode(),
        json.dumps({**MEMBER, "seed": "zero"}).encode(),
    ],
    ids=["bytes", "list", "number", "cut", "deep", "point", "seed"],
)  # fmt: skip
def test_a_line_of_a_journal_that_cannot_be_read_costs_that_line_alone(
    home: Home, line: bytes
) -> None:
    write_run(home)
    journal = Journal(home, "s").path
    journal.parent.mkdir(parents=True)
    good = json.dumps(MEMBER).encode()
    other = json.dumps({**MEMBER, "seed": 1}).encode()
    journal.write_bytes(b"\n".join([good, line, other, b""]))
    done = lbench("sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 0
    assert done.err.count(f"{journal}: 1 line cannot be read and is left out (line 2)") == 1
    (said,) = lbench("sync", "--no-mlflow", "--json", "--home", str(home.root)).json["skipped"]
    assert said in done.err
    with Record.open(home) as record:
        assert [member.seed for member in record.members(study="s")] == [0, 1]


def test_many_lines_that_cannot_be_read_are_counted_and_empty_ones_are_none(home: Home) -> None:
    journal = Journal(home, "s").path
    journal.parent.mkdir(parents=True)
    good = json.dumps(MEMBER).encode()
    journal.write_bytes(b"\n".join([good, b"", *[b"cut"] * 1200, good, b""]))
    said = Journal(home, "s").skipped
    assert "1,200 lines cannot be read and are left out (line 3, 4, 5, 6, 7, …)" in said
    journal.write_bytes(good + b"\n\n")
    assert Journal(home, "s").skipped == ""


@pytest.mark.parametrize(
    "content", [b"\xff", b"[]", b'{"points": 3}', b'{"points": {"a": 3}}', b'{"points": {"a": {}}}']
)
def test_a_damaged_plan_is_named_and_not_written_over(home: Home, content: bytes) -> None:
    plan = home.studies / "screen" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_bytes(content)
    done = lbench("study", "screen", "--status", "--home", str(home.root))
    assert done.code == 1
    assert f"{plan} is damaged" in done.err
    assert f"Move {plan} away and run the study again" in done.err
    assert plan.read_bytes() == content
