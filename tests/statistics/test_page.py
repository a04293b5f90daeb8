"""``docs/statistics.md`` has every function of ``lbench.statistics``, and its measurements."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from lbench import statistics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "statistics.md").read_text()
PROSE, _, MEASURED = PAGE.partition("## Measured")
OVERVIEW = PROSE.partition("\n## ")[0]
ROOM = Path(statistics.__file__).parent
NOT_CHANCE = {"__init__", "continual"}
"""``continual`` computes numbers of a run, which are then treated like errors."""
MODULES = sorted({path.stem for path in ROOM.glob("*.py")} - NOT_CHANCE)


def functions(module: str) -> set[str]:
    tree = ast.parse((ROOM / f"{module}.py").read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_method_is_on_the_page(module: str) -> None:
    missing = {name for name in functions(module) if f"`{module}.{name}`" not in PROSE}
    assert missing == set()


def test_every_method_of_the_page_is_in_the_code() -> None:
    named = re.findall(r"`([a-z_]+)\.([a-z_]+)`", PROSE)
    assert len(named) >= 15
    for module, function in named:
        assert function in functions(module), f"{module}.{function}"
        assert importlib.import_module(f"lbench.statistics.{module}").__dict__[function].__doc__


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_method_was_measured() -> None:
    measured = {row[0] for row in rows(MEASURED)}
    for _, method, _ in rows(OVERVIEW):
        assert method in measured, method


def test_every_measurement_meets_its_bar() -> None:
    result = rows(MEASURED)
    assert len(result) > 50
    for method, where, percent, bar, said in result:
        assert said == ("met" if bar else ""), (method, where)
        if bar.startswith("95"):
            assert abs(float(percent) - 95) <= 1.5


def test_the_benchmark_measures_what_the_page_shows() -> None:
    names = ("coverage.py", "error_intervals.py")
    code = "".join((ROOT / "benchmarks" / name).read_text() for name in names)
    for method in {row[0] for row in rows(MEASURED)}:
        assert f'"{method}"' in code, method
