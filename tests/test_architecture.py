"""What lbench's package has: it imports nothing, and names what is public.

Which modules may import which is in the contracts of pyproject.toml, for ``lint-imports``.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import lbench

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
    (circles,) = [each["ancestors"] for each in linted["contracts"] if "ancestors" in each]
    assert set(circles) == ours
    (layers,) = [
        each["layers"] for each in linted["contracts"] if "lbench" in each.get("layers", ())
    ]
    assert {name for layer in layers for name in layer.split(" | ")} == ours


def taken_from_the_package(path: Path) -> set[str]:
    """Public names that a file imports from ``lbench`` itself; modules and the version are none."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name == "lbench"}
        elif isinstance(node, ast.ImportFrom) and node.module == "lbench":
            found |= {alias.name for alias in node.names}
    modules = {each.stem for each in ROOT.iterdir()}
    return found - modules - {"__version__"}


def test_no_module_of_lbench_imports_a_public_name_past_the_contracts() -> None:
    # The package loads such a name from its room, wherever that is: the contracts see no import.
    taken = {path: taken_from_the_package(path) for path in ROOT.rglob("*.py")}
    assert {path: names for path, names in taken.items() if names} == {}


def test_the_package_itself_imports_nothing() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    # What stands under "if TYPE_CHECKING" is for type checkers alone.
    found = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in found
    }
    assert names <= {"__future__", "importlib", "typing"}


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"lbench.{home}" for name, home in lbench._HOMES.items()}


@pytest.mark.parametrize("name", lbench.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(lbench, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lbench' has no attribute 'nothing'"):
        lbench.nothing  # noqa: B018
