"""A rule in which neurons maximise the attention of the next layer."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "next_attention",
            "Neurons maximise the attention that the next layer pays to them (a reconstruction)",
            "Moakhar et al. 2023, arXiv:2310.09952",
            "lbench_next_attention.next_attention:NextAttention",
        )
    ]
