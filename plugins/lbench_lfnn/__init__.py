"""Leader-follower networks."""

from __future__ import annotations

from lbench.hooks import AnalysisEntry, FigureEntry, ProbeEntry, RuleEntry, hookimpl

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


@hookimpl
def lbench_figures() -> list[FigureEntry]:
    return [
        FigureEntry(
            "leaders",
            "How much of each epoch every worker led, and whether the same ones go on leading",
            "lbench_lfnn.report.leaders:figures",
            "leaders",
        ),
        FigureEntry(
            "activity",
            "How much a step moves leaders and followers, beside a Vicsek model",
            "lbench_lfnn.report.activity:figures",
            "activity",
        ),
        FigureEntry(
            "agreement",
            "How alike leaders predict, how well, and how well a logistic regression does",
            "lbench_lfnn.report.agreement:figures",
            "agreement",
        ),
    ]


@hookimpl
def lbench_analyses() -> list[AnalysisEntry]:
    return [
        AnalysisEntry(
            "leaders",
            "Whether the same workers go on leading",
            "lbench_lfnn.report.leaders:analysis",
            "leaders",
        ),
        AnalysisEntry(
            "activity",
            "How many times as much as a follower's a leader's output moves, early and late",
            "lbench_lfnn.report.activity:analysis",
            "activity",
        ),
        AnalysisEntry(
            "convexity",
            "Whether leaders are alike, and how far they are from a logistic regression",
            "lbench_lfnn.report.agreement:convexity",
            "agreement",
        ),
    ]
