"""Tests of ``--plugin FILE.py``: rules that are not installed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lbench.cli.main import COMMANDS, cli
from lbench.errors import PluginError
from lbench.execute.driver import RunOutcome
from lbench.home import Home
from lbench.plugin_file import snake
from lbench.registry import Registry, registry
from lbench.store.sync import sync
from lbench.training.digest import code_digest
from lbench.training.resolve import Request, resolve
from tests import forked
from tests.training.helper import run

PRED = '''
from torch import nn
from lbench import GradientRule, LocalRule, Rule, spatial_mean

class _Base(LocalRule):
    """Private: no rule."""

class LinearPred(_Base):
    """Each block learns
    through a head of its own.

    More words.
    """

    scale = 1

    def build(self, init):
        blocks = enumerate(self.network.blocks)
        self.heads = nn.ModuleList(
            init.linear(f"heads.{k}", b.width, self.task.classes) for k, b in blocks
        )

    def loss(self, v, s):
        return self.scale * self.task.loss(self.heads[v.k](spatial_mean(v.h)), v.target)

class Plain(GradientRule):
    pass

Alias = LinearPred
'''
HOOKS = """
from lbench import RuleEntry, hookimpl
from lbench_bp.bp import Bp
API = 1
class Mine(Bp):
    pass
@hookimpl
def lbench_rules():
    return [RuleEntry("by_hook", "Title", "Paper", load="plugin_hooks:Mine")]
"""
CLASS = "from lbench import LocalRule\nclass {}(LocalRule):\n    pass\n"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        if name not in before:
            del sys.modules[name]


@pytest.fixture
def known() -> Registry:
    """Return a registry with all installed entries that belongs to one test."""
    installed = registry()
    return Registry(
        plugins=list(installed.plugins),
        rules=dict(installed.rules),
        networks=dict(installed.networks),
        datasets=dict(installed.datasets),
        owners=dict(installed.owners),
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lbench(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return forked.run(*args, cwd=cwd, env={**os.environ, "COLUMNS": "200"})


def test_the_public_rules_of_a_file_without_hooks_are_registered(
    known: Registry, tmp_path: Path
) -> None:
    before = set(known.rules)
    known.add_file(write(tmp_path / "plugin_pred.py", PRED))
    assert set(known.rules) - before == {"linear_pred", "plain"}
    assert known.rules["linear_pred"].title == "Each block learns"
    assert known.rules["plain"].title == "Plain"
    assert known.owner("rules", "plain") == "plugin_pred.py"
    assert known.load("rules", "linear_pred").__name__ == "LinearPred"


def test_a_file_with_hooks_is_a_plugin_like_any_other(known: Registry, tmp_path: Path) -> None:
    before = set(known.rules)
    known.add_file(write(tmp_path / "plugin_hooks.py", HOOKS))
    assert set(known.rules) - before == {"by_hook"}, "its classes are what the hooks name"
    assert known.load("rules", "by_hook").__name__ == "Mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SignPred", "sign_pred"),
        ("LfnnL", "lfnn_l"),
        ("DFA", "dfa"),
        ("MyDFARule2", "my_dfa_rule2"),
    ],
)
def test_names_are_written_in_snake_case(name: str, expected: str) -> None:
    assert snake(name) == expected


def test_a_file_may_be_named_twice_and_leaves_no_bytecode(known: Registry, tmp_path: Path) -> None:
    path = write(tmp_path / "plugin_again.py", CLASS.format("Again"))
    known.add_file(path)
    known.add_file(path.parent / ".." / tmp_path.name / path.name)
    assert [plugin.name for plugin in known.plugins].count("plugin_again.py") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["plugin_again.py"]


@pytest.mark.parametrize(
    ("file", "text", "message", "hint"),
    [
        ("plugin_a.py", "x = (\n", "plugin_a.py, line 1: SyntaxError", ""),
        ("plugin_b.py", "x = 1\n\ny = z\n", "plugin_b.py, line 3: NameError: name 'z'", ""),
        ("plugin_c.py", "import helper_of_mine", "line 1: ModuleNotFoundError", "lbench new rule"),
        ("plugin_d.py", "import sys\nsys.exit(3)", "line 2: SystemExit: 3", ""),
        ("plugin_e.py", HOOKS.replace("API = 1", ""), "interface None, this lbench has", "API = 1"),
        ("plugin_f.py", HOOKS.replace("API = 1", "API = 2"), "plugin interface 2", "API = 1"),
        ("plugin_g.py", HOOKS.replace("@hookimpl", ""), "It has no entries", "@hookimpl"),
        ("plugin_h.py", "x = 1", "It has no entries", "derives from a Rule"),
        ("plugin_i.py", CLASS.format("Bp"), "Its rule 'bp' is taken by plugin 'bp'", ""),
        (
            "plugin_j.py",
            CLASS.format("Ab") + CLASS.format("AB"),
            "two entries for rule 'ab'",
            "",
        ),
        ("plugin_k.py", HOOKS.replace("return", "raise ValueError"), "ValueError", ""),
        ("plugin-l.py", "", "has not the name of a Python module", "my_rule.py"),
        ("plugin_m.txt", "", "has not the name of a Python module", "my_rule.py"),
        ("random.py", "", "the name of another module", "Rename"),
        ("torchvision.py", "", "the name of another module", "Rename"),
    ],
)
def test_a_file_that_is_refused_leaves_the_registry_unchanged(
    known: Registry, tmp_path: Path, file: str, text: str, message: str, hint: str
) -> None:
    path = write(tmp_path / file, text)
    before, modules = set(known.rules), sys.modules.get(path.stem)
    with pytest.raises(PluginError) as caught:
        known.add_file(path)
    assert file in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert set(known.rules) == before
    assert file not in [plugin.name for plugin in known.plugins]
    assert sys.modules.get(path.stem) is modules


def test_a_second_file_of_the_same_name_is_refused(known: Registry, tmp_path: Path) -> None:
    known.add_file(write(tmp_path / "a" / "plugin_same.py", CLASS.format("First")))
    with pytest.raises(PluginError, match=r"another module: .*a/plugin_same.py"):
        known.add_file(write(tmp_path / "b" / "plugin_same.py", CLASS.format("Second")))
    assert "second" not in known.rules


def test_the_text_of_the_file_is_the_code_of_the_rule(known: Registry, tmp_path: Path) -> None:
    def digest(text: str) -> str:
        sys.modules.pop("plugin_pred", None)
        fresh = Registry()
        fresh.add_file(write(tmp_path / "plugin_pred.py", text))
        return code_digest(fresh.load("rules", "linear_pred"))

    assert digest(PRED) == digest(PRED + "# a comment\n")
    assert digest(PRED) != digest(PRED.replace("scale = 1", "scale = 2"))


@pytest.mark.parametrize("name", sorted({"run", "rules", "networks", "plugins", "check", "audit"} &
                                        set(COMMANDS)))  # fmt: skip
def test_commands_that_use_rules_take_plugin_files(name: str) -> None:
    assert isinstance(cli, click.Group)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--plugin" in options


def test_listings_show_the_rules_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "plugin_pred.py", PRED)
    write(tmp_path / "plugin_hooks.py", HOOKS)
    files = ["--plugin", "plugin_pred.py", "--plugin", "plugin_hooks.py"]
    done = lbench("rules", *files, "--json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["linear_pred"]["plugin"] == "plugin_pred.py"
    assert rows["by_hook"]["paper"] == "Paper"
    assert (
        "Each block learns through a head of its own."
        in lbench("rules", "linear_pred", *files, cwd=tmp_path).stdout
    )


@pytest.mark.parametrize("file", ["plugin_a.py", "plugin_missing.py"])
def test_a_wrong_file_gives_exit_code_2_and_a_message(tmp_path: Path, file: str) -> None:
    write(tmp_path / "plugin_a.py", "x = (\n")
    done = lbench("rules", "--plugin", file, cwd=tmp_path)
    assert done.returncode == 2
    assert file in done.stderr
    assert "Traceback" not in done.stderr


def test_an_edited_file_is_trained_again_and_compares_without_the_plugin(
    known: Registry, tmp_path: Path
) -> None:
    path, home = tmp_path / "plugin_pred.py", Home(tmp_path / "home")

    def train(text: str) -> RunOutcome:
        sys.modules.pop("plugin_pred", None)
        fresh = dataclasses.replace(known, plugins=[], rules={}, owners={})
        fresh.add_file(write(path, text))
        request = Request("linear_pred", "digits", network="mlp", epochs=1)
        (outcome,) = run(home.root, resolve(request, fresh))
        return outcome

    runs = [train(PRED), train(PRED), train(PRED.replace("scale = 1", "scale = 9"))]
    assert runs[0].run_dir == runs[1].run_dir != runs[2].run_dir
    sync(home, mlflow=False)
    assert "linear_pred" not in registry().rules
    arguments = ["--home", str(home.root), "--json"]
    listing = CliRunner().invoke(cli, ["compare", *arguments], standalone_mode=False)
    cells = [row["cell"] for row in json.loads(listing.stdout)]
    done = CliRunner().invoke(cli, ["compare", *cells, *arguments], standalone_mode=False)
    assert done.exception is None
    assert len(cells) == 2
    assert all(cell.startswith("linear_pred/digits/mlp/") for cell in cells)
