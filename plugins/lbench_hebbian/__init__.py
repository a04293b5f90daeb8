"""Hebbian learning without labels."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return []
