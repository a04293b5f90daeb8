"""Helpers for tests of audits: audits made once per process, and a few quick cases of many."""

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
    """Audit a rule on a network with these options, once for all tests that use the report."""
    return audit_rule(cls, network=network, network_options=options)


def few(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Mark all cases as slow except the quick ones, which must be among them."""
    cases = list(cases)
    missing = [case for case in quick if case not in cases]
    assert not missing, f"no such cases: {missing}"
    return [case if case in quick else pytest.param(case, marks=SLOW) for case in cases]
