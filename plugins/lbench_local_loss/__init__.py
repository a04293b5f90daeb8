"""Local losses through heads of one layer."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "pred",
            "Each block learns to predict labels through a linear classifier",
            "Nøkland & Eidnes 2019, arXiv:1901.06656",
            "lbench_local_loss.pred:Pred",
        ),
        RuleEntry(
            "sim",
            "Each block learns features whose pairwise similarities match those of the labels",
            "Nøkland & Eidnes 2019, arXiv:1901.06656",
            "lbench_local_loss.sim:Sim",
        ),
        RuleEntry(
            "predsim",
            "Each block minimises a mixture of the losses of pred and sim",
            "Nøkland & Eidnes 2019, arXiv:1901.06656",
            "lbench_local_loss.predsim:PredSim",
        ),
        RuleEntry(
            "pred_bio",
            "pred with random codes of the labels and fixed random feedback weights",
            "Nøkland & Eidnes 2019, arXiv:1901.06656",
            "lbench_local_loss.pred_bio:PredBio",
        ),
        RuleEntry(
            "sim_bio",
            "sim on a block's own activities, with random codes of the labels",
            "Nøkland & Eidnes 2019, arXiv:1901.06656",
            "lbench_local_loss.sim_bio:SimBio",
        ),
        RuleEntry(
            "predsim_bio",
            "pred_bio and sim_bio together, without weight transport",
            "Nøkland & Eidnes 2019, arXiv:1901.06656",
            "lbench_local_loss.predsim_bio:PredSimBio",
        ),
        RuleEntry(
            "mono_forward",
            "Each block learns class logits of its own, which are the prediction",
            "Gong et al. 2025, arXiv:2501.09238",
            "lbench_local_loss.mono_forward:MonoForward",
        ),
        RuleEntry(
            "lls",
            "Each block learns to match a fixed sine wave per class",
            "Apolinario et al. 2024, arXiv:2405.15868",
            "lbench_local_loss.lls:Lls",
        ),
        RuleEntry(
            "rand_local",
            "Each block learns to be classified by a fixed random linear readout",
            "Mostafa et al. 2018, arXiv:1711.06756",
            "lbench_local_loss.rand_local:RandLocal",
        ),
    ]
