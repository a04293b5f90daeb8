"""Every installed rule keeps what every rule promises."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from lbench.registry import registry
from lbench.testing import RuleConformance, Subject, conform

# Of the code that these hundreds of tests run, each room's own tests show what is covered.
pytestmark = [pytest.mark.no_cover, pytest.mark.usefixtures("forked_resuming")]

COSTLY = ("learns", "claims_equal_measurements", "resumes_in_a_new_process")
QUICK = {"lfnn_l": ("learns", "claims_equal_measurements")}
"""What a quick look has of them; a rule resumes in tests/testing too."""


def thorough(name: str) -> Callable[[RuleConformance], None]:
    """A check's test that a quick look leaves out."""
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


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(registry().rules))
def test_on_every_network(rule: str) -> None:
    failed = [each for each in conform(Subject(rule, quick=False)) if each.status == "failed"]
    assert not failed
