"""docs/conformance.md describes the checks, the commands and the examples of the kit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lbench.cli.main import cli
from lbench.rule import Rule
from lbench.testing import CHECKS, RuleConformance, Subject, examine

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def test_the_page_has_every_check_with_its_claim_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert rows == [(check.name, check.claim) for check in CHECKS]


def test_the_commands_of_the_page_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, str], bool]] = []

    def report(rule: str, options: dict[str, str], *, quick: bool, alone: bool) -> dict[str, Any]:
        calls.append((rule, options, quick))
        statuses = ("passed", "failed", "expected", "skipped", "seconds")
        return {"rule": rule, "form": "full", "checks": [], **dict.fromkeys(statuses, 0)}

    monkeypatch.setattr("lbench.cli.check._check", report)
    for words in re.findall(r"^\$ lbench (check [^#\n]*)", PAGE, flags=re.MULTILINE):
        result = CliRunner().invoke(cli, words.split(), standalone_mode=False)
        assert result.exception is None
    assert ("lfnn_l", {"leadership": "0.5"}, False) in calls
    assert ("lfnn", {}, True) in calls
    assert ("bp", {}, False) in calls


def test_the_examples_of_the_page_run() -> None:
    suite, rule = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, Any] = {"Rule": Rule}
    exec(suite, names)
    exec(rule, names)
    assert issubclass(names["TestPred"], RuleConformance)
    (check,) = (check for check in CHECKS if check.name == "expected_failures_explained")
    assert examine(check, Subject(names["Mine"])).status == "passed"
