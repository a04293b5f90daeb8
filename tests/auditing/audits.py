"""What the tests of audits share: audits made once in a process, and a few quick cases of many."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Any

import pytest

from lbench.auditing.report import Report
from lbench.auditing.rules import audit_rule
from lbench.rule import Rule

SLOW = [pytest.mark.slow, pytest.mark.no_cover]


@functools.cache
def audited(cls: str | type[Rule], network: str = "mlp", **options: Any) -> Report:
    """Make the audit of a rule on a network with these options, once for all tests that read it."""
    return audit_rule(cls, network=network, network_options=options)


def few(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Mark all parameters as slow but for the quick ones, each of which must be there."""
    cases = list(cases)
    missing = [case for case in quick if case not in cases]
    assert not missing, f"no such cases: {missing}"
    return [case if case in quick else pytest.param(case, marks=SLOW) for case in cases]
