"""RuleConformance: every check as a test of a plugin's own test suite."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from lbench.rule import Rule
from lbench.testing.checks import CHECKS, Check, examine
from lbench.testing.subject import Subject


class RuleConformance:
    """A test class with every check: pytest runs a subclass whose name begins with ``Test``.

    Class attributes:
        rule: the name of an installed rule, or its class.
        options: options of the rule that differ from its defaults.
        quick: False for the full form, which takes every network.
    """

    rule: ClassVar[str | type[Rule]]
    options: ClassVar[Mapping[str, Any]] = {}
    quick: ClassVar[bool] = True


def _test(check: Check) -> Callable[[RuleConformance], None]:
    def test(self: RuleConformance) -> None:
        outcome = examine(check, Subject(self.rule, self.options, quick=self.quick))
        if outcome.status == "failed":
            raise AssertionError(outcome.detail) from outcome.error
        if outcome.status != "passed":
            kind = "expected failure: " if outcome.status == "expected" else ""
            raise unittest.SkipTest(kind + outcome.detail)

    test.__doc__ = check.claim
    return test


for _check in CHECKS:
    setattr(RuleConformance, f"test_{_check.name}", _test(_check))
