"""Plugins are isolated: a temporary distribution with real entry points, in its own processes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import forked

PLUGINS = {
    "explodes": "raise RuntimeError('no such device')",
    "exits": "raise SystemExit(3)",
    "thief": """
from lbench.hooks import RuleEntry, hookimpl
API = 1
@hookimpl
def lbench_rules():
    return [
        RuleEntry("stolen", "Never seen", "-", "thief:X"),
        RuleEntry("bp", "Another bp", "-", "thief:X"),
    ]
""",
    "future": "API = 2",
    "nameless": "",
    "rubbish": """
from lbench.hooks import hookimpl
API = 1
@hookimpl
def lbench_rules():
    return 5
""",
    "strings": """
from lbench.hooks import hookimpl
API = 1
@hookimpl
def lbench_datasets():
    return ["mine"]
""",
    "raises": """
from lbench.hooks import NetworkEntry, hookimpl
API = 1
@hookimpl
def lbench_networks():
    return [NetworkEntry("halfway", "Never seen", "raises:X")]
@hookimpl
def lbench_datasets():
    raise ValueError("hook went wrong")
""",
    "twice": """
from lbench.hooks import RuleEntry, hookimpl
API = 1
@hookimpl
def lbench_rules():
    return [RuleEntry("double", "", "", "twice:X"), RuleEntry("double", "", "", "twice:X")]
""",
    "good": """
from lbench.hooks import RuleEntry, hookimpl
API = 1
@hookimpl
def lbench_rules():
    return [
        RuleEntry("mine", "A third party's rule", "Me (2026)", "good:Mine"),
        RuleEntry("hollow", "Its class is missing", "Me (2026)", "good:Missing"),
    ]
""",
}


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PYTHONPATH that holds the plugins and their distribution's metadata."""
    folder = tmp_path_factory.mktemp("layer")
    info = folder / "third_party-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.2\n")
    points = "\n".join(f"{name} = {name}_plugin" for name in PLUGINS)
    (info / "entry_points.txt").write_text(f"[lbench]\n{points}\nabsent = no_such_module\n")
    for name, source in PLUGINS.items():
        (folder / f"{name}_plugin.py").write_text(source)
    return folder


def call(layer: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return forked.run(*args, env={**os.environ, "PYTHONPATH": str(layer)})


@pytest.fixture(scope="module")
def plugins(layer: Path) -> dict[str, dict[str, object]]:
    found = call(layer, "plugins", "--json")
    assert found.returncode == 0, found.stderr
    return {plugin["name"]: plugin for plugin in json.loads(found.stdout)}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("explodes", "RuntimeError while loading explodes_plugin: no such device"),
        ("exits", "SystemExit while loading exits_plugin: 3"),
        ("absent", "No module named 'no_such_module'"),
        ("thief", "Its rule 'bp' is taken by plugin 'bp'"),
        ("future", "wants plugin interface 2, this lbench has 1"),
        ("future", "python -m pip install --upgrade third-party lbench"),
        ("nameless", "wants plugin interface None"),
        ("rubbish", "Its hook lbench_rules returned 5, not a list"),
        ("strings", "Its hook lbench_datasets returned 'mine', not a DatasetEntry"),
        ("raises", "hook went wrong"),
        ("twice", "It brings rule 'double' twice"),
    ],
)
def test_a_broken_plugin_is_shown_with_its_error(
    plugins: dict[str, dict[str, object]], name: str, problem: str
) -> None:
    assert problem in str(plugins[name]["error"])
    assert plugins[name]["distribution"] == "third-party"
    assert plugins[name]["version"] == "1.2"


def test_everything_else_works(layer: Path, plugins: dict[str, dict[str, object]]) -> None:
    for name in ("core", "bp", "good"):
        assert plugins[name]["error"] is None
    found = call(layer, "rules", "--json")
    assert found.returncode == 0
    rules = {rule["name"]: rule["plugin"] for rule in json.loads(found.stdout)}
    assert rules["mine"] == "good"
    assert rules["bp"] == "bp"
    # Whatever else a plugin that was left out brings is not taken either.
    assert rules.keys() & {"stolen", "double"} == set()
    assert "Left out: absent, " in found.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["rules", "explodes"], "'explodes' was left out. RuntimeError"),
        (["rules", "stolen"], "'thief' was left out. Its rule 'bp' is taken"),
        (["networks", "halfway"], "'raises' was left out."),
        (["rules", "hollow"], "which cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_asking_for_what_a_broken_plugin_brings_says_so(
    layer: Path, args: list[str], said: str
) -> None:
    found = call(layer, *args)
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_an_unknown_name_mentions_that_plugins_are_missing(layer: Path) -> None:
    found = call(layer, "rules", "mina")
    assert found.returncode == 2
    assert "Did you mean mine" in found.stderr
    assert "plugins left out: absent, " in found.stderr
