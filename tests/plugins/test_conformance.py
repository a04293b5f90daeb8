"""Every installed rule passes the conformance kit."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from lbench.registry import registry
from lbench.testing import CHECKS, RuleConformance, Subject, conform, examine

# These are hundreds of tests, and the code that they run is covered by other tests.
pytestmark = [pytest.mark.no_cover, pytest.mark.usefixtures("forked_resuming")]

COSTLY = ("learns", "claims_equal_measurements", "resumes_in_a_new_process")
QUICK = {"lfnn_l": ("learns", "claims_equal_measurements")}
"""Costly checks that are not marked slow, by rule; tests/testing has resuming too."""


def thorough(name: str) -> Callable[[RuleConformance], None]:
    """Return the test of a check, marked slow and thorough."""
    plain: Callable[[RuleConformance], None] = getattr(RuleConformance, name)

    @pytest.mark.slow
    @pytest.mark.thorough
    @functools.wraps(plain)
    def test(self: RuleConformance) -> None:
        plain(self)

    return test


for rule in registry().rules:
    costly = [f"test_{check}" for check in COSTLY if check not in QUICK.get(rule, ())]
    members = {"rule": rule, **{name: thorough(name) for name in costly}}
    globals()[f"Test_{rule}"] = type(f"Test_{rule}", (RuleConformance,), members)


@pytest.mark.parametrize("rule", ["lfnn_l_head", "lfnn_v2", "dgl"])
def test_every_option_acts(rule: str) -> None:
    """Options of all other rules are tried by the slow test."""
    (check,) = (check for check in CHECKS if check.name == "every_option_acts")
    result = examine(check, Subject(rule, quick=False))
    assert result.status == "passed", result.detail


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(registry().rules))
def test_every_check_passes_on_every_network(rule: str) -> None:
    results = conform(Subject(rule, quick=False))
    failed = [result for result in results if result.status == "failed"]
    assert not failed
