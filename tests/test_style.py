"""Files in PLAIN keep to docs/style.md, as far as a program can check it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAIN: tuple[str, ...] = (
    "benchmarks",
    "lbench/quantities.py",
    "tests/test_quantities.py",
    "docs/audit-elsewhere.md",
    "docs/audit.md",
    "docs/statistics.md",
    "lbench/auditing",
    "lbench/statistics",
    "tests/auditing",
    "tests/statistics",
    "docs/conformance.md",
    "docs/data.md",
    "docs/interface.md",
    "docs/networks.md",
    "docs/probes.md",
    "docs/writing-a-dataset.md",
    "docs/writing-a-network.md",
    "docs/writing-a-probe.md",
    "docs/writing-a-rule.md",
    "examples",
    "lbench/__init__.py",
    "lbench/__main__.py",
    "lbench/builtin.py",
    "lbench/claims.py",
    "lbench/config.py",
    "lbench/data",
    "lbench/depth.py",
    "lbench/errors.py",
    "lbench/home.py",
    "lbench/hooks.py",
    "lbench/init.py",
    "lbench/layer.py",
    "lbench/network.py",
    "lbench/networks",
    "lbench/plugin_check.py",
    "lbench/plugin_file.py",
    "lbench/plurals.py",
    "lbench/probe.py",
    "lbench/randomness.py",
    "lbench/recipe.py",
    "lbench/registry.py",
    "lbench/reporting",
    "lbench/rule.py",
    "lbench/run_files.py",
    "lbench/rundir.py",
    "lbench/step.py",
    "lbench/task.py",
    "lbench/templates",
    "lbench/testing",
    "lbench/threads.py",
    "tests/check_wheel.py",
    "tests/conftest.py",
    "tests/data",
    "tests/forked.py",
    "tests/interpreter.py",
    "tests/mlflow_once.py",
    "tests/networks",
    "tests/packages.py",
    "tests/permissions.py",
    "tests/probes",
    "tests/readonly.py",
    "tests/resuming.py",
    "tests/test_architecture.py",
    "tests/test_config.py",
    "tests/test_docs.py",
    "tests/test_errors.py",
    "tests/test_forked.py",
    "tests/test_home.py",
    "tests/test_interface_page.py",
    "tests/test_plurals.py",
    "tests/test_project.py",
    "tests/test_registry.py",
    "tests/test_rules_page.py",
    "tests/testing",
    "tests/warm.py",
    "docs/json.md",
    "docs/studies.md",
    "lbench/studies",
    "studies",
    "tests/studies",
    "lbench/containment.py",
    "docs/rules",
    "lbench/builtin.py",
    "docs/rules.md",
    "plugins",
    "tests/plugins",
    "lbench/execute",
    "lbench/training",
    "lbench/store",
    "tests/execute",
    "tests/training",
    "tests/store",
    "docs/architecture.md",
    "docs/homes.md",
    "docs/reports.md",
    "lbench/audit_pages",
    "lbench/output",
    "lbench/report",
    "tests/audit_pages",
    "tests/output",
    "tests/report",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/python.md",
    "lbench/api",
    "lbench/cli",
    "tests/api",
    "tests/cli",
)  # fmt: skip
"""Folders and files that keep to the page. One entry per line."""
SUFFIXES = ("py", "md", "toml", "template")

AVOIDED = {
    "told": r"\btold\b",
    "lies": r"\blies?\b",
    "nobody": r"\bnobody\b",
    "held against": r"\bheld against\b",
    "so many": r"\bso many\b",
    '"a" for "per"': r"\b(?:one|two|three|\d+|numbers?|draws?|seeds?|runs?|processes)"
    r" an? (?:example|worker|class|seed|cell|step|block|epoch|layer|unit|core|position|dataset)\b",
}
NO_VERBS = {
    "a", "all", "an", "and", "as", "at", "both", "by", "each", "every", "for", "from", "how", "if",
    "in", "its", "of", "on", "one", "only", "that", "the", "their", "those", "to", "two", "what",
    "when", "where", "whether", "which", "who", "whose", "why", "with", "within",
}  # fmt: skip
"""Words that begin no docstring of a function: there is a verb in front of them."""


def files() -> list[Path]:
    """Return the Python files and pages that PLAIN lists or has in its folders."""
    paths = [ROOT / name for name in PLAIN if (ROOT / name).is_file()]
    for name in PLAIN:
        paths += [path for suffix in SUFFIXES for path in (ROOT / name).rglob(f"*.{suffix}")]
    return sorted(paths)


def functions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and docstring of each function, method and property."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield node.name, text


def begins_with_a_verb(text: str) -> bool:
    first = re.split(r"[\s,.:;(]", text, maxsplit=1)[0].lower()
    third_person = re.fullmatch(r"\w+[^s]s", first) and first not in ("process", "pass", "focus")
    return first not in NO_VERBS and not third_person


def avoided(text: str) -> list[str]:
    return [name for name, words in AVOIDED.items() if re.search(words, text, re.IGNORECASE)]


def test_the_checks_see_what_the_page_leaves_out() -> None:
    assert avoided("One number an example, so many of them.") == ["so many", '"a" for "per"']
    assert avoided("One number per example; that number of them relies on untold work.") == []
    assert begins_with_a_verb("Return the mean.")
    assert not any(map(begins_with_a_verb, ("The mean.", "Of a run.", "Returns the mean.")))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_to_the_style(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert avoided(text) == []
    if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts:
        assert [name for name, doc in functions(path) if not begins_with_a_verb(doc)] == []
