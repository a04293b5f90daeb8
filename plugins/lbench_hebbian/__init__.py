"""Hebbian learning without labels."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "softhebb",
            "Soft winners move towards the input, others away; only the readout sees labels",
            "Journé et al. 2023, arXiv:2209.11883",
            "lbench_hebbian.softhebb:SoftHebb",
        )
    ]
