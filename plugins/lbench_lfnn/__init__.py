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
            "Leaders learn from the output loss and a local loss; followers copy the best leader",
            PAPER,
            "lbench_lfnn.lfnn:Lfnn",
        ),
        RuleEntry(
            "lfnn_online",
            "One binary lfnn of single sigmoid units per class, for one pass over the data",
            PAPER,
            "lbench_lfnn.lfnn_online:LfnnOnline",
        ),
        RuleEntry(
            "lfnn_l",
            "Leaders learn from a local loss only; followers copy the best leader",
            PAPER,
            "lbench_lfnn.lfnn_l:LfnnL",
        ),
        RuleEntry(
            "lfnn_l_v1",
            "The first released code of lfnn_l: one trained head per block, then gated workers",
            PAPER,
            "lbench_lfnn.lfnn_l_v1:LfnnLV1",
        ),
        RuleEntry(
            "lfnn_l_rr",
            "lfnn_l with workers of many units, classified by fixed random readouts",
            f"{PAPER}; Mostafa et al. 2018, arXiv:1711.06756",
            "lbench_lfnn.lfnn_l_rr:LfnnLRr",
        ),
        RuleEntry(
            "lfnn_l_head",
            "lfnn_l with workers of many units, classified by trained linear heads",
            PAPER,
            "lbench_lfnn.lfnn_l_head:LfnnLHead",
        ),
        RuleEntry(
            "lfnn_v2",
            "The second released code of lfnn: backpropagation with worker heads on the last block",
            PAPER,
            "lbench_lfnn.lfnn_v2:LfnnV2",
        ),
    ]


@hookimpl
def lbench_probes() -> list[ProbeEntry]:
    return [
        ProbeEntry(
            "leaders",
            "Leaders of each step; gradient norms of leaders and followers",
            "lbench_lfnn.probes.leaders:Leaders",
        ),
        ProbeEntry(
            "activity",
            "Change of each worker's output per step",
            "lbench_lfnn.probes.activity:Activity",
        ),
        ProbeEntry(
            "agreement",
            "Distances between the predictions of leaders, and the error of each worker",
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
