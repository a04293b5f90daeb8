"""Neurons that seek the attention of the next layer."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return []
