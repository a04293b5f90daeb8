"""Tests of ``lbench check``: its argument, its table, its JSON and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lbench import testing
from lbench.cli.check import rules_of
from lbench.cli.main import cli
from lbench.config import RuleConfig, param
from lbench.errors import PluginError, UsageError
from lbench.hooks import RuleEntry
from lbench.registry import Plugin, Registry, registry
from lbench.rule import GradientRule
from tests import forked


def call(*args: str, code: int = 0) -> Result:
    found = CliRunner().invoke(cli, ["check", *args], standalone_mode=False)
    if found.exception is not None:
        raise found.exception
    assert (found.return_value or 0) == code, found.output
    return found


class Right(GradientRule):
    class Config(RuleConfig):
        scale: float = param(1.0, low=0.5, high=2.0)


def fine(subject: testing.Subject) -> str:
    """It is fine."""
    return f"with {subject.options}"


def poor(subject: testing.Subject) -> None:
    """It is not."""
    raise testing.FailedError("of poor quality")


def idle(subject: testing.Subject) -> None:
    """It may be."""
    raise testing.SkippedError("nothing to see")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return a registry with the rules of two plugins, one of which fails to load."""
    own = f"{__name__}:Right"
    made = Registry(
        plugins=[
            Plugin("pair", "lbench_pair", "lbench-pair", "1", brings={"rules": ["one", "two"]}),
            Plugin("extra", "lbench_extra", "lbench-pair", "1", brings={"rules": ["three"]}),
            Plugin("data", "lbench_data", "other", "1", brings={"datasets": ["d"]}),
            Plugin("ill", "lbench_ill", "lbench-ill", "1", error="No API."),
        ],
        rules={
            name: RuleEntry(name, "", "", load)
            for name, load in {"one": own, "two": "lbench_nowhere:No", "three": own}.items()
        },
    )  # fmt: skip
    made.owners = {("rules", name): "pair" for name in made.rules}
    for module in ("lbench.cli.check", "lbench.testing.subject"):
        monkeypatch.setattr(f"{module}.registry", lambda: made)
    return made


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the checks by three quick ones: one passes, one fails, one is skipped."""
    three = tuple(map(testing.Check, (fine, poor, idle)))
    monkeypatch.setattr("lbench.testing.CHECKS", three)
    monkeypatch.setattr("lbench.testing.checks.CHECKS", three)


def test_a_name_means_a_rule_a_plugin_a_module_or_a_distribution(known: Registry) -> None:
    assert rules_of("one", known) == ["one"]
    assert rules_of("pair", known) == rules_of("lbench_pair", known) == ["one", "two"]
    assert rules_of("lbench-pair", known) == ["one", "two", "three"]
    assert rules_of("all", known) == ["one", "two", "three"]


def test_a_rule_goes_before_the_plugin_of_its_name() -> None:
    assert rules_of("lfnn", registry()) == ["lfnn"]
    assert set(rules_of("lbench_lfnn", registry())) >= {"lfnn", "lfnn_l"}


def test_the_error_for_a_name_of_no_rule_names_what_is_allowed(known: Registry) -> None:
    with pytest.raises(UsageError, match="'lbench_pairs'") as caught:
        rules_of("lbench_pairs", known)
    assert "Did you mean lbench_pair" in caught.value.hint
    with pytest.raises(UsageError, match="'data' brings no rules"):
        rules_of("data", known)
    with pytest.raises(PluginError, match=r"'ill' was left out. No API"):
        rules_of("ill", known)


@pytest.mark.usefixtures("known", "checks")
def test_a_failing_check_is_printed_with_its_reason_and_gives_exit_code_1() -> None:
    found = call("one", "--set", "scale=2", code=1)
    table = [line.split() for line in found.stdout.splitlines()]
    assert ["fine", "passed", "with", "{'scale':", "'2'}"] in table
    assert ["poor", "failed", "of", "poor", "quality"] in table
    assert ["idle", "skipped", "nothing", "to", "see"] in table
    assert "1 passed, 1 failed, 1 skipped in" in found.stdout
    assert "Failing: one" in found.stdout
    assert "Checking one: 3 checks" in found.stderr


@pytest.mark.usefixtures("known", "checks")
def test_json_has_every_rule_and_every_check() -> None:
    reports: list[dict[str, Any]] = json.loads(call("all", "--quick", "--json", code=1).stdout)
    assert [report["rule"] for report in reports] == ["one", "two", "three"]
    one, two, _ = reports
    assert (one["form"], one["passed"], one["failed"], one["expected"], one["skipped"]) == (
        "quick", 1, 1, 0, 1,
    )  # fmt: skip
    assert one["checks"][1] == {
        "name": "poor", "status": "failed", "detail": "of poor quality",
        "seconds": one["checks"][1]["seconds"],
    }  # fmt: skip
    assert [check["name"] for check in two["checks"]] == ["loads"]
    assert "lbench_nowhere" in two["checks"][0]["detail"]


@pytest.mark.usefixtures("known", "checks")
def test_a_single_rule_that_cannot_be_loaded_is_an_error() -> None:
    with pytest.raises(PluginError, match="lbench_nowhere"):
        call("two")


@pytest.mark.usefixtures("known", "checks")
def test_options_are_checked_before_the_rule_is() -> None:
    with pytest.raises(UsageError, match="Unknown option of rule one 'scael'"):
        call("one", "--set", "scael=2")
    with pytest.raises(UsageError, match="--set gives options to one rule, but 'pair' has 2"):
        call("pair", "--set", "scale=2")


@pytest.mark.usefixtures("forked_resuming")
def test_an_installed_rule_passes() -> None:
    (report,) = json.loads(call("bp", "--quick", "--json").stdout)
    assert report["failed"] == 0
    assert [check["name"] for check in report["checks"]] == [c.name for c in testing.CHECKS]


def test_a_rule_of_a_single_file_is_checked_and_resumes_in_a_process_that_finds_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "lonely.py"
    file.write_text(
        "from lbench import GradientRule\n\n\n"
        "class Lonely(GradientRule):\n"
        '    """Backpropagation."""\n\n'
        "    def loss(self, batch, s):\n"
        "        return self.task.loss(self.network(batch.x, s), batch.target)\n"
    )
    done = forked.run("check", "lonely", "--quick", "--json", "--plugin", str(file))
    (report,) = json.loads(done.stdout)
    assert (done.returncode, report["failed"]) == (0, 0), report
    assert report["checks"][-1]["status"] == "passed"
