"""Leader-follower networks."""

from __future__ import annotations

from lbench.hooks import ProbeEntry, RuleEntry, hookimpl

API = 1
PAPER = "Yin et al. 2023, arXiv:2310.07885"


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "lfnn",
            "Leaders learn from the output loss and their own, followers copy the best leader",
            PAPER,
            "lbench_lfnn.lfnn:Lfnn",
        ),
        RuleEntry(
            "lfnn_online",
            "A binary lfnn for each class, of single sigmoid units, for one pass over the data",
            PAPER,
            "lbench_lfnn.lfnn_online:LfnnOnline",
        ),
        RuleEntry(
            "lfnn_l",
            "Leaders learn from their own loss alone, followers copy the best leader; no backprop",
            PAPER,
            "lbench_lfnn.lfnn_l:LfnnL",
        ),
        RuleEntry(
            "lfnn_l_v1",
            "The first released code of lfnn_l: heads trained block by block, gated workers",
            PAPER,
            "lbench_lfnn.lfnn_l_v1:LfnnLV1",
        ),
        RuleEntry(
            "lfnn_l_rr",
            "lfnn_l with workers of many units that are read by fixed random readouts",
            f"{PAPER}; Mostafa et al. 2018, arXiv:1711.06756",
            "lbench_lfnn.lfnn_l_rr:LfnnLRr",
        ),
        RuleEntry(
            "lfnn_l_head",
            "lfnn_l with workers of many units that are read by linear heads, trained with them",
            PAPER,
            "lbench_lfnn.lfnn_l_head:LfnnLHead",
        ),
        RuleEntry(
            "lfnn_v2",
            "The second released code of lfnn: backpropagation, with a bank of workers at the end",
            PAPER,
            "lbench_lfnn.lfnn_v2:LfnnV2",
        ),
    ]


@hookimpl
def lbench_probes() -> list[ProbeEntry]:
    return [
        ProbeEntry(
            "leaders",
            "Who leads in each step; gradient norms of leaders and followers",
            "lbench_lfnn.probes.leaders:Leaders",
        ),
        ProbeEntry(
            "activity",
            "Change of each worker's output in a step",
            "lbench_lfnn.probes.activity:Activity",
        ),
        ProbeEntry(
            "agreement",
            "Whether leaders converge to one classifier, and each worker's own error",
            "lbench_lfnn.probes.agreement:Agreement",
        ),
    ]
