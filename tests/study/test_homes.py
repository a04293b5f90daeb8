"""Homes with any name: no character of a path acts in a URL, a template, a pattern or SQL."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import optuna
import pytest

from lbench.home import Home
from lbench.study.storage import storage
from tests.study.helper import ALONE, lbench

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
set = { epochs = 1, "net.widths" = [20], weight_decay = 0.0, optimizer = "adam" }
[search]
trials = 1
space = { lr = [0.01] }
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_search_is_kept_in_the_home_itself(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    optuna.create_study(study_name=name, storage=storage(home))
    assert optuna.load_study(study_name=name, storage=storage(home)).study_name == name
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "optuna.db" in {path.name for path in home.root.iterdir()}


def test_every_command_works_in_a_home_of_any_name(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "run%41 ?x=1 {x} a#b [b] * ö' \"$x;y\\z&"
    home.mkdir()
    shutil.copy(template, home / "store.db")
    study = tmp_path / "a b{0}#%41.toml"
    study.write_text(SEARCH)
    run = ["run", "--rule", "bp", "--dataset", "digits", "--epochs", "1", "--net", "widths=20"]
    done = lbench(*run, "--threads", "1", "--home", str(home))
    assert f"lbench ui --home {shlex.quote(str(home))}\n" in done.err
    monkeypatch.setenv("LBENCH_HOME", str(home))
    for words in (
        ["study", str(study), *ALONE],
        ["study", str(study), "--status"],
        ["report", str(study), "--html", str(home / "page.html")],
        ["sync"],
    ):
        done = lbench(*words)
        assert done.code == 0, (words, done.err)
    assert len(lbench("compare", "--json").json) == 3
    assert {path.name for path in tmp_path.iterdir()} == {home.name, study.name}
    page = (home / "reports" / study.stem / "report.html").read_text()
    assert page == (home / "page.html").read_text()


def test_a_home_whose_name_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    home = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")
    done = lbench("compare", "--home", home, "--json")
    assert done.code == 2
    assert json.loads(done.out)["error"]["message"].endswith("r\ufffd is not UTF-8.")


@pytest.mark.parametrize("name", ["..toml", "...toml"])
def test_a_study_file_must_have_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SEARCH)
    done = lbench("study", str(tmp_path / name), "--home", str(tmp_path / "home"))
    assert done.code == 2
    assert "no name for a study's file" in done.err
