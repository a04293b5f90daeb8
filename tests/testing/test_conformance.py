"""RuleConformance makes one test per check in a plugin's own test suite."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lbench.testing import CHECKS, RuleConformance
from tests import forked

from . import wrong


class TestByClass(RuleConformance):
    """A rule that is not installed; its costly checks have tests of their own."""

    rule = wrong.ClosedForm

    def test_claims_equal_measurements(self) -> None:
        """Do nothing: other tests have the costly checks."""

    test_learns = test_resumes_in_a_new_process = test_claims_equal_measurements


def test_every_check_is_a_test_with_its_claim_as_docstring() -> None:
    for check in CHECKS:
        assert getattr(RuleConformance, f"test_{check.name}").__doc__ == check.claim


def test_a_failure_is_an_assertion_that_is_caused_by_the_rules_error() -> None:
    class Case(RuleConformance):
        rule = wrong.CrashesOnMixer

    with pytest.raises(AssertionError, match="tokens") as caught:
        Case().test_networks_train()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_skip_and_an_expected_failure_are_skipped_with_their_reason() -> None:
    class Announced(wrong.HidesNan):
        expected_failures: ClassVar[Mapping[str, Any]] = {"nan_reported": "Its data has gaps."}

    class Case(RuleConformance):
        rule = Announced

    with pytest.raises(unittest.SkipTest, match="the rule is no LocalRule"):
        Case().test_cotangent_is_the_gradient_of_loss()
    with pytest.raises(unittest.SkipTest, match="expected failure: Its data has gaps"):
        Case().test_nan_reported()


def test_options_reach_the_rule() -> None:
    class Case(RuleConformance):
        rule = wrong.RequiredOption
        options: ClassVar[Mapping[str, Any]] = {"scale": 2.0}

    Case().test_networks_train()
    Case.options = {}
    with pytest.raises(AssertionError, match="scale"):
        Case().test_networks_train()


def test_importing_the_kit_imports_no_pytest() -> None:
    script = "import sys, lbench.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_plugins_suite_of_three_lines_runs_under_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            from lbench.testing import RuleConformance
            class TestBp(RuleConformance):
                rule = "bp"
            """
        )
    )
    words = ["-p", "no:cacheprovider", "-q", str(tmp_path)]
    done = forked.run(*words, does=forked.testing, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"{len(CHECKS) - 3} passed, 3 skipped" in done.stdout
