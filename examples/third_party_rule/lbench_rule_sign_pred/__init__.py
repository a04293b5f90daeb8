"""The hooks of lbench-rule-sign-pred."""

from __future__ import annotations

from lbench.hooks import AnalysisEntry, FigureEntry, ProbeEntry, RuleEntry, hookimpl

API = 1
ANGLE = "lbench_rule_sign_pred.sign_angle"


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "sign_pred",
            "Each block learns from a classifier whose error passes through its weights' signs",
            "Signs: Liao, Leibo & Poggio 2016, arXiv:1510.05067; here inside a block alone",
            load="lbench_rule_sign_pred.sign_pred:SignPred",
        )
    ]


@hookimpl
def lbench_probes() -> list[ProbeEntry]:
    title = "Angle between a block's feedback and the weights that it replaces"
    return [ProbeEntry("sign_angle", title, load=f"{ANGLE}:SignAngle")]


@hookimpl
def lbench_figures() -> list[FigureEntry]:
    title = "Angle between feedback and weights over training, by block"
    return [FigureEntry("sign_angle", title, load=f"{ANGLE}:figures", probe="sign_angle")]


@hookimpl
def lbench_analyses() -> list[AnalysisEntry]:
    title = "Angle between feedback and weights of the last block at the end"
    return [AnalysisEntry("sign_angle", title, load=f"{ANGLE}:analysis", probe="sign_angle")]
