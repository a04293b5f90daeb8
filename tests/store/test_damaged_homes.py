"""Damaged files of a home are reported, and the other files are read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.store.memberships import Memberships
from lbench.store.record import Record
from lbench.store.sync import sync
from tests.permissions import POSIX, UNPRIVILEGED, no_privileges
from tests.store.helper import write_run
from tests.studies.helper import Output, lbench

Damage = Callable[[Path], None]


def has(content: bytes) -> Damage:
    def damage(file: Path) -> None:
        file.write_bytes(content)

    return damage


def changed(**changes: Any) -> Damage:
    """Return a damage that changes a JSON object; the value "removed" deletes a name."""

    def damage(file: Path) -> None:
        content = json.loads(file.read_text()) | changes
        remaining = {name: value for name, value in content.items() if value != "removed"}
        file.write_text(json.dumps(remaining))

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
    "no error": ("result.json", changed(test_error="removed"), "test_error is missing"),
    "null": ("result.json", changed(test_error=None), "test_error is null"),
    "text": (
        "result.json",
        changed(test_error="bad"),
        "test_error: input should be a valid number",
    ),
    "number in text": ("result.json", changed(test_error="7.5"), "test_error: input should be"),
    "NaN": ("result.json", changed(test_error=float("nan")), "NaN is no number"),
    "below 0": ("result.json", changed(test_error=-1.0), "greater than or equal to 0"),
    "seconds": ("result.json", changed(seconds=[1]), "seconds: input should be a valid dictionary"),
    "large": ("result.json", changed(steps=10**30), "steps: input should be less than"),
    "half a character": ("result.json", changed(reason="\ud800"), "surrogates not allowed"),
    "cut": ("result.json", has(b'{"status": "fini'), "Unterminated string"),
    "bytes": ("result.json", has(b'{"status": "\xff"}'), "invalid start byte"),
    "deep": ("result.json", has(b"[" * 100_000), "maximum recursion depth"),
    "directory": ("result.json", directory, "Is a directory"),
    "link": ("result.json", link, "a link to a file that is not there"),
    "loop": ("result.json", loop, "Too many levels of symbolic links"),
    "spec list": ("spec.json", has(b"[]"), "it is no JSON object"),
    "spec directory": ("spec.json", directory, "Is a directory"),
    "spec link": ("spec.json", link, "a link to a file that is not there"),
    "spec seed": ("spec.json", changed(seed="one"), "seed: input should be a valid integer"),
    "spec environment": ("spec.json", changed(environment=[1]), "environment: input should be"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_sync_reports_a_damaged_directory_and_reads_the_others(home: Home, name: str) -> None:
    file, damage, reason = DAMAGES[name]
    for seed in range(3):
        write_run(home, seed)
    broken = home.runs / next(home.runs.iterdir()).name / "seed-1"
    damage(broken / file)
    done = lbench("sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert "2 runs of 1 configuration: 2 finished." in done.out
    assert f"Left out: {broken / file} is damaged: " in done.err
    assert reason in done.err
    assert "store" not in done.err
    report = lbench("sync", "--no-mlflow", "--json", "--home", str(home.root))
    assert (report.code, list(report.json["unreadable"])) == (1, [str(broken)])
    cells = lbench("compare", "--json", "--home", str(home.root)).json
    assert [cell["test_error"]["n"] for cell in cells] == [2]


@pytest.mark.parametrize("name", DAMAGES)
def test_runs_that_were_recorded_before_the_damage_are_compared(home: Home, name: str) -> None:
    file, damage, _ = DAMAGES[name]
    write_run(home)
    sync(home, mlflow=False)
    damage(home.runs / next(home.runs.iterdir()).name / "seed-0" / file)
    done = lbench("compare", "lfnn_l/mnist", "--json", "--home", str(home.root))
    assert (done.code, len(done.json["cells"])) == (0, 1)


@pytest.mark.parametrize("damage", [directory, loop, link])
def test_a_directory_in_place_of_an_epoch_log_loses_only_the_curves(
    mlflow_home: Home, damage: Damage
) -> None:
    damage(write_run(mlflow_home).epoch_log)
    done = lbench("sync", "--home", str(mlflow_home.root))
    assert (done.code, done.err) == (0, "")


def test_a_run_directory_that_is_a_broken_link_is_reported(home: Home) -> None:
    run_dir = write_run(home).path
    shutil.rmtree(run_dir)
    run_dir.symlink_to(home.root / "nowhere")
    write_run(home, 1)
    done = lbench("sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert "1 run of 1 configuration" in done.out
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
def test_files_without_permission_are_not_reported_as_damaged(
    shared: Path, closed: str, mode: int, taken: int
) -> None:
    home = Home(shared / "home")
    for seed in range(3):
        (write_run(home, seed).path / "lock").touch()
    (cell,) = home.runs.iterdir()
    cell.rename(home.runs / "cell")
    path = home.runs / closed
    done = without_permission(home, path, mode, "sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert (f"{taken} runs of 1 configuration" in done.out) == bool(taken)
    assert f"Left out: There is no permission to read {path}.\n" in done.err
    assert "damaged" not in done.err


@POSIX
@pytest.mark.parametrize("closed", ["", "s", "s/members.jsonl"])
@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_study_without_permission_is_reported(shared: Path, closed: str, mode: int) -> None:
    home = Home(shared / "home")
    write_run(home)
    members_file = Memberships(home, "s").path
    members_file.parent.mkdir(parents=True)
    members_file.write_text(json.dumps(MEMBER) + "\n")
    path = home.studies / closed
    done = without_permission(home, path, mode, "sync", "--no-mlflow", "--home", str(home.root))
    readable = path == members_file and mode
    assert done.code == (0 if readable else 1)
    assert (str(path) in done.err) != bool(readable)
    assert "damaged" not in done.err


@POSIX
def test_run_directories_that_may_not_be_listed_are_reported(shared: Path) -> None:
    home = Home(shared / "home")
    write_run(home)
    done = without_permission(home, home.runs, 0, "sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 1
    assert f"Permission denied: {home.runs}" in done.err


@POSIX
def test_a_plan_without_permission_is_not_reported_as_damaged(shared: Path) -> None:
    home = Home(shared / "home")
    plan = home.studies / "screen" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text("{}")
    done = without_permission(
        home, plan, 0, "study", "screen", "--status", "--home", str(home.root)
    )
    assert done.code == 1
    assert f"There is no permission to read {plan}." in done.err
    assert "damaged" not in done.err


def without_permission(home: Home, closed: Path, mode: int, *words: str) -> Output:
    """Run a command as a user who owns the home but has no permission to one path."""
    assert lbench(*words).code == 0, "the first call imports everything"
    if os.geteuid() == 0:
        for path in (home.root, *home.root.rglob("*")):
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
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
def test_a_damaged_line_of_the_memberships_loses_only_that_line(home: Home, line: bytes) -> None:
    write_run(home)
    members_file = Memberships(home, "s").path
    members_file.parent.mkdir(parents=True)
    good = json.dumps(MEMBER).encode()
    other = json.dumps({**MEMBER, "seed": 1}).encode()
    members_file.write_bytes(b"\n".join([good, line, other, b""]))
    done = lbench("sync", "--no-mlflow", "--home", str(home.root))
    assert done.code == 0
    assert done.err.count(f"{members_file}: 1 line cannot be read and is left out (line 2)") == 1
    (sentence,) = lbench("sync", "--no-mlflow", "--json", "--home", str(home.root)).json["skipped"]
    assert sentence in done.err
    with Record.open(home) as record:
        assert [member.seed for member in record.members(study="s")] == [0, 1]


def test_damaged_lines_are_counted_without_empty_ones(home: Home) -> None:
    members_file = Memberships(home, "s").path
    members_file.parent.mkdir(parents=True)
    good = json.dumps(MEMBER).encode()
    members_file.write_bytes(b"\n".join([good, b"", *[b"cut"] * 1200, good, b""]))
    sentence = Memberships(home, "s").skipped
    assert "1,200 lines cannot be read and are left out (line 3, 4, 5, 6, 7, …)" in sentence
    members_file.write_bytes(good + b"\n\n")
    assert Memberships(home, "s").skipped == ""


@pytest.mark.parametrize(
    "content", [b"\xff", b"[]", b'{"points": 3}', b'{"points": {"a": 3}}', b'{"points": {"a": {}}}']
)
def test_a_damaged_plan_is_reported_and_not_overwritten(home: Home, content: bytes) -> None:
    plan = home.studies / "screen" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_bytes(content)
    done = lbench("study", "screen", "--status", "--home", str(home.root))
    assert done.code == 1
    assert f"{plan} is damaged" in done.err
    assert f"Move {plan} away and run the study again" in done.err
    assert plan.read_bytes() == content
