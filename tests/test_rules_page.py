"""The pages on the rules have a section per rule, and the audit's tables are the measured ones."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbench.audit_pages.table import COLUMNS, SHOWN
from lbench.audit_pages.words import say
from lbench.auditing.rules import CLASSES, SHAPE
from lbench.cli.audit import command
from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.registry import GROUP, build

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "rules.md").read_text(encoding="utf-8")
# Other tests may have added files to the registry of the process.
REGISTRY = build(importlib.metadata.entry_points(group=GROUP))
RULES = REGISTRY.rules
TABLES = dict(re.findall(r"<!-- (lbench audit .*?) -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL))


def rows(table: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    head, _, *body = lines
    assert tuple(head) == COLUMNS
    return {name: values for name, *values in body}


def index_rows() -> list[tuple[str, list[str], str]]:
    """Return page, rules and package of each row of the index."""
    row = r"^\| \[.*?\]\((rules/\w+\.md)\) \| ([^|]*) \| `(\w+)` \|$"
    found = re.findall(row, PAGE, re.MULTILINE)
    return [(path, names.split(", "), package) for path, names, package in found]


def test_the_index_says_where_the_code_and_the_tests_of_each_rule_are() -> None:
    for _, names, package in index_rows():
        assert (DOCS.parent / "tests" / "plugins" / package).is_dir()
        assert (DOCS.parent / "plugins" / package).is_dir()
        for name in names:
            assert REGISTRY.load("rules", name).__module__.split(".")[0] == package


def test_every_rule_has_a_section_and_is_in_the_index() -> None:
    index = {path: set(names) for path, names, _ in index_rows()}
    for path, names in index.items():
        sections = re.findall(r"^## ([\w, ]+)$", (DOCS / path).read_text(), re.MULTILINE)
        headings = {name for section in sections for name in section.split(", ")}
        assert names == headings & set(RULES), path
    assert set().union(*index.values()) == set(RULES)


def test_the_tables_have_every_rule() -> None:
    assert len(TABLES) == 2
    for table in TABLES.values():
        assert list(rows(table)) == list(RULES)


def test_the_table_has_the_rules_claims() -> None:
    network = Mlp(**Mlp.small).build(Init(0), SHAPE, CLASSES)
    for name, values in rows(TABLES["lbench audit --markdown"]).items():
        rule = REGISTRY.load("rules", name)
        claims = rule.claims(rule.Config(), network).as_dict()
        cells = [say(claims[claim]) for claim in SHOWN]
        assert [b if a == say(None) else a for a, b in zip(cells, values, strict=True)] == values


@pytest.mark.slow
@pytest.mark.parametrize("line", TABLES)
def test_the_table_has_the_audits_measurements(line: str) -> None:
    done = CliRunner().invoke(command, shlex.split(line)[2:])
    assert done.exit_code == 0
    assert done.stdout.strip() == TABLES[line].strip()
