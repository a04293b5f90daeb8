"""A study's file is read as it stands, and whatever is wrong is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbench.errors import UsageError
from lbench.study.definition import Span
from lbench.study.read import read_study

GOOD = """\
title = "Title"
question = "Which?"
datasets = ["digits"]
rules = ["bp", "lfnn_l"]
seeds = 2

[axes]
leadership = [0.3, 0.7]

[search]
trials = 4

[search.space]
lr = { low = 0.001, high = 0.1, log = true }
"""


def read(tmp_path: Path, text: str) -> object:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return read_study(file)


def test_a_file_becomes_a_study(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD)
    assert study.name == "mine"  # type: ignore[attr-defined]
    assert study.kind == "search"  # type: ignore[attr-defined]
    assert [arm.rule for arm in study.arms] == ["bp", "lfnn_l"]  # type: ignore[attr-defined]
    assert study.arms[1].axes == {"leadership": (0.3, 0.7)}  # type: ignore[attr-defined]
    assert study.search.space == {"lr": Span(0.001, 0.1, log=True)}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("seeds = 2", "seds = 2", 5, "Unknown field 'seds'"),
        ("seeds = 2", 'seeds = "two"', 5, "seeds"),
        ("seeds = 2", "seeds = 0", 5, "seeds"),
        ("trials = 4", "trails = 4", 11, "Unknown field 'trails'"),
        ("trials = 4", 'sampler = "tpi"', 11, "sampler"),
        ("trials = 4", 'objectives = ["val_eror"]', 11, "Unknown objective 'val_eror'"),
        ("low = 0.001", "lo = 0.001", 14, "'lo'"),
        ("low = 0.001", "low = 0.5", 14, "low must be less than high"),
        ("low = 0.001", "low = 0.0", 14, "so low must be positive"),
        ("[0.3, 0.7]", "[]", 8, "no value"),
        ("[0.3, 0.7]", "[0.3, 0.3]", 8, "twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, GOOD.replace(old, new))
    assert said in raised.value.message
    assert f"line {line}" in raised.value.message


def test_the_nearest_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, GOOD.replace("trials = 4", "trails = 4"))
    assert "Did you mean trials" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "is no TOML"),
        (GOOD.replace('rules = ["bp", "lfnn_l"]\n', ""), "Give rules, or"),
        (GOOD.replace("datasets", "# datasets"), "'datasets' is missing"),
        (GOOD.replace("seeds = 2", 'kind = "grid"'), "no table [search]"),
    ],
)
def test_what_no_line_has_is_told_too(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert said in raised.value.message


def test_a_file_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_study(tmp_path / "none.toml")
