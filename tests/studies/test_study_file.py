"""A study's file becomes a study, and error messages name the line of the wrong field."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbench.errors import UsageError
from lbench.registry import registry
from lbench.studies.definition import Arm, Span, Study
from lbench.studies.plan import plan
from lbench.studies.study_file import read_study

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


def read(tmp_path: Path, text: str) -> Study:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return read_study(file)


def test_true_and_1_are_different_values(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD.replace("[0.3, 0.7]", "[true, 1]"))
    with pytest.raises(UsageError, match=r"leadership .* must be a number .* but got True"):
        plan(study, registry())


def test_a_file_becomes_a_study(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD)
    assert study.name == "mine"
    assert study.kind == "search"
    assert [arm.rule for arm in study.arms] == ["bp", "lfnn_l"]
    assert study.arms[1].axes == {"leadership": (0.3, 0.7)}
    assert study.search is not None
    assert study.search.space == {"lr": Span(0.001, 0.1, log=True)}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
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
        ("[0.3, 0.7]", "[1, 1.0]", 8, "has the value 1.0 twice"),
        ('["digits"]', '["digits", "digits"]', 3, "has 'digits' twice"),
        ('["digits"]', '"digits"', 3, "should be a valid list"),
        ("seeds = 2", "seeds = true", 5, "valid integer, but got True"),
        ("seeds = 2", 'protocol = "loose"', 5, "'strict' or 'paper'"),
        ("trials = 4", "pruning = 1", 11, "valid boolean"),
        ("trials = 4", 'objectives = ["step_ms"]', 11, "first objective must be val_error"),
        ("trials = 4", 'objectives = ["val_error", "val_error"]', 11, "twice"),
        ("lr = {", "lr = 3 #", 14, "must be a range, as in { low = 0.1, high = 1.0 }"),
        ("{ low = 0.001, high = 0.1, log = true }", "[]", 14, "no value"),
        ("{ low = 0.001, high = 0.1, log = true }", "[0.1, 0.1]", 14, "0.1 twice"),
        (", log = true", ', log = "yes"', 14, "valid boolean"),
        (", high = 0.1", "", 14, "'high' of [search.space.lr] is missing"),
        ("log = true", "log = true, step = 0.1", 14, "so it has no step"),
        ("log = true", "step = 1.0", 14, "wider than its range"),
        (
            "[axes]",
            "[set]\nleadership = 0.3\n[axes]",
            10,
            "leadership is both a setting and an axis",
        ),
        (
            "trials = 4",
            'trials = 4\nsampler = "grid"',
            11,
            "trials has no effect: the sampler grid",
        ),
        (
            "trials = 4",
            'objectives = ["val_error", "step_ms"]\npruning = true',
            12,
            "pruning has no effect: with several objectives",
        ),
    ],
)
def test_the_message_names_the_line_of_the_wrong_field(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, GOOD.replace(old, new))
    assert message in raised.value.message
    assert f"line {line}" in raised.value.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds = 2", "epochs = 2"),
        ("seeds = 2", "labels = [0.1]"),
        ("leadership = [0.3, 0.7]", "leadership = [0.3]\n[[arms]]\nrule = 'bp'\nlr = 0.1"),
    ],
)
def test_the_hint_for_a_setting_outside_set_names_set(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(UsageError, match="Unknown field") as raised:
        read(tmp_path, GOOD.replace(old, new))
    assert "belong in 'set'" in raised.value.hint


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("title = ", "# a word\ntitle = ", True),
        ("seeds = 2", "seeds = 5", True),
        ("trials = 4", "trials = 40", True),
        ('["digits"]', '["digits", "mnist"]', True),
        ("[0.3, 0.7]", "[0.3, 0.6]", False),
        ("high = 0.1", "high = 0.2", False),
        ("trials = 4", "pruning = false", False),
    ],
)
def test_a_version_changes_with_points_and_searches_and_not_with_texts_or_numbers_of_runs(
    tmp_path: Path, old: str, new: str, same: bool
) -> None:
    before, after = read(tmp_path, GOOD), read(tmp_path, GOOD.replace(old, new))
    assert GOOD.replace(old, new) != GOOD
    assert (before.version == after.version) == same


def test_the_nearest_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, GOOD.replace("trials = 4", "trails = 4"))
    assert "Did you mean trials" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "is not TOML"),
        (GOOD.replace('rules = ["bp", "lfnn_l"]\n', ""), "Give either rules, or"),
        (GOOD.replace("datasets", "# datasets"), "'datasets' is missing"),
        (GOOD.replace("seeds = 2", 'kind = "grid"'), "no table [search]"),
        (GOOD.partition("[search]")[0] + 'kind = "search"', "kind"),
        (GOOD + '[[arms]]\nrule = "bp"\n', "or [[arms]] with one rule each"),
    ],
)
def test_a_problem_that_has_no_line_is_reported(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "[set]\nlr = " + "[" * 3000 + "]" * 3000, "nests lists or tables too deeply"),
        (GOOD + "[set]\nlr = " + "{a = " * 3000 + "1" + "}" * 3000, "nests lists or tables"),
        (GOOD + "[set]\nlr = " + "[" * 300 + "]" * 300, "line 16: lists or tables are nested"),
        (GOOD + "[set]\nepochs = " + "9" * 5000, "is not TOML"),
        (GOOD + "[set]\nepochs = 9223372036854775808", "line 16: a whole number in TOML has"),
        (GOOD.encode("utf-16").decode("latin-1"), "byte 1 is not UTF-8"),
        ("", "Field 'title' is missing"),
    ],
    ids=["deep lists", "deep tables", "less deep", "long", "65 bits", "UTF-16", "empty"],
)
def test_content_that_no_study_has_is_an_error_with_a_message(
    tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError) as raised:
        read_study(file)
    assert message in raised.value.message


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_ignored(tmp_path: Path, line_end: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", line_end).encode())
    assert read_study(file) == read(tmp_path, GOOD)


def test_a_missing_file_is_an_error_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_study(tmp_path / "none.toml")


ARMS = """\
title = "Title"
question = "Which?"
datasets = ["digits"]

[set]
leadership = 0.3
lr = 0.1

[axes]
lam = [0.1, 1.0]

[[arms]]
rule = "bp"

[[arms]]
rule = "lfnn_l"
name = "own"
set = { lam = 2.0, lr = 0.2 }
axes = { leadership = [0.1, 0.2] }
"""


def test_settings_of_an_arm_take_precedence_over_those_of_all_arms(tmp_path: Path) -> None:
    plain, own = read(tmp_path, ARMS).arms
    assert plain == Arm("bp", "", {"leadership": 0.3, "lr": 0.1}, {"lam": (0.1, 1.0)})
    assert own == Arm("lfnn_l", "own", {"lr": 0.2, "lam": 2.0}, {"leadership": (0.1, 0.2)})


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('name = "own"', 'nam = "own"', 17, "Unknown field 'nam' of [arms]"),
        ('name = "own"', "name = 3", 17, "'name' of [arms]"),
        ('rule = "lfnn_l"', "", 15, "'rule' of [arms] is missing"),
        ("[0.1, 0.2]", "[0.1, 0.1]", 19, "twice"),
        ("lam = 2.0", "leadership = 2.0", 19, "leadership is both a setting and an axis"),
    ],
)
def test_the_message_names_the_right_one_of_several_arms(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, ARMS.replace(old, new))
    assert message in raised.value.message
    assert f"line {line}:" in raised.value.message


def test_networks_that_no_arm_uses_are_refused(tmp_path: Path) -> None:
    both = ARMS.replace('rule = "bp"', 'rule = "bp"\nnetwork = "mlp"')
    both = both.replace("name =", 'network = "mlp"\nname =')
    with pytest.raises(UsageError, match="line 5: networks has no effect"):
        read(tmp_path, both.replace("[set]", 'networks = ["mlp"]\n[set]', 1))


@pytest.mark.parametrize("name", sorted(registry().studies))
def test_every_installed_study_can_be_read(name: str) -> None:
    entry = registry().studies[name]
    study = read_study(entry.path, name)
    assert (study.name, study.title) == (name, entry.title)
    assert study.question
    assert study.published
