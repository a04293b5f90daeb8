"""lbench imports nothing, every public name can be imported, and it names no plugin's.

The contracts in pyproject.toml, which ``lint-imports`` checks, say which modules may import which.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Container, Iterable
from pathlib import Path

import pytest

import lbench
from lbench import reporting
from lbench.registry import registry

ROOT = Path(lbench.__file__).parent
REPOSITORY = ROOT.parent


def test_every_package_is_under_the_contracts_of_imports() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    tools = project["tool"]
    ours = {name.partition(".")[0] for name in tools["setuptools"]["packages"]}
    entries = project["project"]["entry-points"]["lbench"].values()
    assert ours >= {name.partition(".")[0] for name in entries}
    linted = tools["importlinter"]
    assert set(linted["root_packages"]) == ours
    contracts = linted["contracts"]
    (circles,) = [contract["ancestors"] for contract in contracts if "ancestors" in contract]
    assert set(circles) == ours
    (layers,) = [
        contract["layers"] for contract in contracts if "lbench" in contract.get("layers", ())
    ]
    assert {name for layer in layers for name in layer.split(" | ")} == ours


def taken_from_the_package(path: Path) -> set[str]:
    """Return the public names, except modules and the version, that a file imports from lbench."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name == "lbench"}
        elif isinstance(node, ast.ImportFrom) and node.module == "lbench":
            names |= {alias.name for alias in node.names}
    modules = {path.stem for path in ROOT.iterdir()}
    return names - modules - {"__version__"}


def test_no_module_of_lbench_imports_a_public_name_past_the_contracts() -> None:
    # The package loads such a name from its room, which the contracts do not see as an import.
    taken = {path: taken_from_the_package(path) for path in ROOT.rglob("*.py")}
    assert {path: names for path, names in taken.items() if names} == {}


def test_the_package_itself_imports_nothing() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    # Imports under "if TYPE_CHECKING" are for type checkers alone.
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports
    }
    assert names <= {"__future__", "importlib", "typing"}


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imported = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {name: f"lbench.{home}" for name, home in lbench._HOMES.items()}


@pytest.mark.parametrize("name", lbench.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(lbench, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lbench' has no attribute 'nothing'"):
        lbench.nothing  # noqa: B018


NAMED = ("rules", "networks", "datasets", "probes", "figures", "analyses", "published")
"""Kinds of entries whose names the core does not use; names of studies are common words."""
COMMON = {"depth", "linear", "online", "tasks"}
"""Names of entries that are also names of the core's own options, layers and analyses."""


def texts(path: Path) -> dict[str, int]:
    """Return the string constants of a file, without docstrings, each with a line number."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value: node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in prose
    }


def named(paths: Iterable[Path], owners: Container[str]) -> list[str]:
    """List the constants of these files that are names of entries of these plugins."""
    names = {
        name: kind
        for (kind, name), owner in registry().owners.items()
        if kind in NAMED and owner in owners and name not in COMMON
    }
    return [
        f"{path.relative_to(REPOSITORY)}:{line} names {names[text]} {text!r}"
        for path in paths
        for text, line in texts(path).items()
        if text in names
    ]


def test_the_core_names_no_entry_of_a_plugin() -> None:
    plugins = set(registry().owners.values()) - {"core"}
    assert {"bp", "lfnn"} <= plugins
    assert named(sorted(ROOT.rglob("*.py")), plugins) == []


def test_a_name_of_a_plugin_would_be_found() -> None:
    hooks = REPOSITORY / "plugins" / "lbench_bp" / "__init__.py"
    assert named([hooks], {"bp"}) == [f"{hooks.relative_to(REPOSITORY)}:14 names rules 'bp'"]


def test_reports_of_plugins_import_public_names_alone() -> None:
    folders = [*REPOSITORY.glob("plugins/*/report"), REPOSITORY / "examples"]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    reports = [path for path in paths if "lbench.reporting" in path.read_text()]
    assert len(reports) >= 4
    for path in reports:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lbench"):
                module = (node.module or "").partition(".")
                if module[0] == "lbench":
                    assert module[2] in ("", "reporting"), f"{path} imports {node.module}"


def test_plugins_use_public_names_alone() -> None:
    """What lbench's own plugins import from lbench, any author may import: it is on the page."""
    public = {*lbench.__all__, *reporting.__all__}
    for path in sorted((Path(__file__).parents[1] / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lbench":
                names = {alias.name for alias in node.names}
                assert names <= public, f"{path.name} imports {sorted(names - public)}"
