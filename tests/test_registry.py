"""A broken plugin does not affect others; the tests use a distribution with real entry points."""

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
    """Return a directory for PYTHONPATH with the plugins and their distribution's metadata."""
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
    result = call(layer, "plugins", "--json")
    assert result.returncode == 0, result.stderr
    return {plugin["name"]: plugin for plugin in json.loads(result.stdout)}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("explodes", "RuntimeError while loading explodes_plugin: no such device"),
        ("exits", "SystemExit while loading exits_plugin: 3"),
        ("absent", "No module named 'no_such_module'"),
        ("thief", "Its rule 'bp' is taken by plugin 'bp'"),
        ("future", "needs plugin interface 2, this lbench has 1"),
        ("future", "python -m pip install --upgrade third-party lbench"),
        ("nameless", "needs plugin interface None"),
        ("rubbish", "Its hook lbench_rules returned 5, not a list"),
        ("strings", "Its hook lbench_datasets returned 'mine', not a DatasetEntry"),
        ("raises", "hook went wrong"),
        ("twice", "It has two entries for rule 'double'"),
    ],
)
def test_a_broken_plugin_is_shown_with_its_error(
    plugins: dict[str, dict[str, object]], name: str, problem: str
) -> None:
    assert problem in str(plugins[name]["error"])
    assert plugins[name]["distribution"] == "third-party"
    assert plugins[name]["version"] == "1.2"


def test_other_plugins_work_beside_broken_ones(
    layer: Path, plugins: dict[str, dict[str, object]]
) -> None:
    for name in ("core", "bp", "good"):
        assert plugins[name]["error"] is None
    result = call(layer, "rules", "--json")
    assert result.returncode == 0
    rules = {rule["name"]: rule["plugin"] for rule in json.loads(result.stdout)}
    assert rules["mine"] == "good"
    assert rules["bp"] == "bp"
    # The other entries of a plugin that was left out are not added either.
    assert rules.keys() & {"stolen", "double"} == set()
    assert "Left out: absent, " in result.stderr


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["rules", "explodes"], "'explodes' was left out. RuntimeError"),
        (["rules", "stolen"], "'thief' was left out. Its rule 'bp' is taken"),
        (["networks", "halfway"], "'raises' was left out."),
        (["rules", "hollow"], "which cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_the_error_for_an_entry_of_a_broken_plugin_has_the_reason(
    layer: Path, args: list[str], reason: str
) -> None:
    result = call(layer, *args)
    assert result.returncode == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_the_error_for_an_unknown_name_mentions_plugins_that_were_left_out(layer: Path) -> None:
    result = call(layer, "rules", "mina")
    assert result.returncode == 2
    assert "Did you mean mine" in result.stderr
    assert "plugins left out: absent, " in result.stderr
