"""The rooms of lbench and who may enter which: imports run downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lbench

ROOT = Path(lbench.__file__).parent
REPOSITORY = ROOT.parent
LONGEST = 400

GROUND = {
    "builtin", "claims", "contained", "errors", "home", "hooks", "plugin_check", "plugin_file",
    "randomness", "registry", "rundir", "threads", "words", "written",
}  # fmt: skip
RULE = {"config", "depth", "init", "network", "probe", "recipe", "rule", "site", "step", "task"}
FLOORS = [
    {"ground"},
    {"rule", "statistics"},
    {"data", "networks"},
    {"auditing", "store"},
    {"probes", "run"},
    {"execute"},
    {"study", "testing"},
    {"report"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room(module: str) -> str:
    """``lbench.data.mnist`` lies in ``data``; the modules beside the packages in two rooms."""
    name = module.split(".")[1]
    if name == "__main__":
        return "cli"
    return "ground" if name in GROUND else "rule" if name in RULE else name


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            folder = REPOSITORY / Path(*module.split("."))
            for alias in node.names:
                inner = folder / alias.name
                is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
                found.add(f"{module}.{alias.name}" if is_module else module)
    return found


MODULES = [(name, path) for name, path in modules() if name != "lbench"]


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_run_downwards(name: str, path: Path) -> None:
    here = room(name)
    assert here in FLOOR, f"{name} lies in no room of the design"
    for target in imports(path):
        assert not target.startswith("lbench_"), f"{name} imports the plugin {target}"
        if target.startswith("lbench."):
            there = room(target)
            assert there == here or FLOOR[there] < FLOOR[here], (
                f"{name} ({here}) imports {target} ({there})"
            )


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


def test_no_file_is_too_long() -> None:
    folders = [ROOT, REPOSITORY / "plugins", REPOSITORY / "tests"]
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines())
        for folder in folders
        for path in folder.rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > LONGEST} == {}
