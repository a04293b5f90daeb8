"""``lbench new`` writes a package that installs and passes its own tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbench.cli.main import cli
from lbench.cli.new import BASES, SCAFFOLDS
from lbench.errors import UsageError
from tests import forked
from tests.packages import install


def new(*args: str) -> str:
    found = CliRunner().invoke(cli, ["new", *args], standalone_mode=False)
    if found.exception is not None:
        raise found.exception
    return found.stdout


@pytest.mark.parametrize(
    "words",
    [[kind] for kind in SCAFFOLDS] + [["rule", "--base", base] for base in list(BASES)[1:]],
    ids=" ".join,
)
def test_the_written_package_passes_its_own_tests(words: list[str], tmp_path: Path) -> None:
    written = json.loads(new(*words, "my_own", "--dir", str(tmp_path / "new"), "--json"))
    folder = Path(written["folder"])
    assert sorted(written["files"]) == sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )
    layer = install(folder, tmp_path / "layer")
    # That a run resumes in a new process is shown where the package is really installed: in tox.
    quick = ["-q", "-p", "no:cacheprovider", "-k", "not resumes"]
    env = {**os.environ, "PYTHONPATH": str(layer)}
    done = forked.run(*quick, does=forked.testing, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("1 deselected" in done.stdout) == (words[0] == "rule")


def test_the_next_three_commands_are_printed(tmp_path: Path) -> None:
    text = new("rule", "my_own", "--dir", str(tmp_path / "with space"))
    lines = [line.strip() for line in text.partition("Next:")[2].splitlines() if line.strip()]
    assert lines == [
        f"cd '{tmp_path}/with space/lbench-rule-my-own' && python -m pip install -e \".[test]\"",
        "python -m pytest",
        "lbench run --rule my_own --dataset digits",
    ]


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("SignPred", "small letters", "lbench new rule sign_pred"),
        ("my-rule", "small letters", "lbench new rule my_rule"),
        ("9", "small letters", "lbench new rule my_rule"),
        ("a__b", "small letters", "lbench new rule a_b"),
        ("../up", "small letters", "lbench new rule up"),
        ("bp", "taken by plugin 'bp'", "lbench rules"),
        ("all", "a word of lbench check", "my_all"),
        ("none", "a word of Python", "my_none"),
        ("lambda", "a word of Python", "my_lambda"),
        ("local_rule", "class LocalRule", "my_local_rule"),
        ("test_conformance", "class TestConformance", "my_test_conformance"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, said: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        new("rule", name, "--dir", str(tmp_path))
    assert hint in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_installed_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lbench_rule_there.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="lbench_rule_there is installed already"):
        new("rule", "there", "--dir", str(tmp_path))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "lbench-rule-mine").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        new("rule", "mine", "--dir", str(tmp_path))
    assert list((tmp_path / "lbench-rule-mine").iterdir()) == []


def test_the_help_ends_with_an_example() -> None:
    assert new("--help").rstrip().splitlines()[-1].strip().startswith("Example: lbench")


@pytest.mark.parametrize(
    ("kind", "taken", "plugin"),
    [("dataset", "digits", "core"), ("network", "mlp", "core"), ("probe", "linear", "probes")],
)
def test_a_taken_name_of_each_kind_is_refused(
    kind: str, taken: str, plugin: str, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=f"{kind.capitalize()} '{taken}' is taken by plugin '{plugin}'"
    ):
        new(kind, taken, "--dir", str(tmp_path))


def test_a_base_belongs_to_rules() -> None:
    with pytest.raises(UsageError, match="--base belongs to rules"):
        new("probe", "mine", "--base", "local")
