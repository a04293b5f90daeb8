"""Forward gradients: directional derivatives instead of a backward pass."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "fg_a",
            "Forward gradient with activity perturbation",
            "Ren et al. 2023, arXiv:2210.03310",
            "lbench_forward_gradient.fg_a:FgA",
        ),
        RuleEntry(
            "lg_fg_a",
            "Forward gradient with activity perturbation of local losses",
            "Ren et al. 2023, arXiv:2210.03310",
            "lbench_forward_gradient.lg_fg_a:LgFgA",
        ),
        RuleEntry(
            "fg_w",
            "Forward gradient with weight perturbation",
            "Baydin et al. 2022, arXiv:2202.08587",
            "lbench_forward_gradient.fg_w:FgW",
        ),
        RuleEntry(
            "lg_fg_w",
            "Forward gradient with weight perturbation of local losses",
            "Ren et al. 2023, arXiv:2210.03310",
            "lbench_forward_gradient.lg_fg_w:LgFgW",
        ),
        RuleEntry(
            "fg_local",
            "Forward gradient along the gradient of local losses",
            "Fournier et al. 2023, arXiv:2306.06968",
            "lbench_forward_gradient.fg_local:FgLocal",
        ),
    ]
