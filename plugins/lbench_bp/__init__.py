"""Backpropagation, the reference that other rules are compared with."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "bp",
            "Backpropagation: the exact gradient of the output loss",
            "Rumelhart, Hinton & Williams 1986, Nature 323",
            "lbench_bp.bp:Bp",
            reference=True,
        )
    ]
