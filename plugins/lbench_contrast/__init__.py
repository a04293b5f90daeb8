"""Learning from the contrast of two forward passes."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "forward_forward",
            "Each block learns high goodness for true labels and low goodness for wrong ones",
            "Hinton 2022, arXiv:2212.13345",
            "lbench_contrast.forward_forward:ForwardForward",
        ),
        RuleEntry(
            "pepita",
            "Second forward pass on an input to which the projected output error is added",
            "Dellaferrera & Kreiman 2022, arXiv:2201.11665",
            "lbench_contrast.pepita:Pepita",
        ),
        RuleEntry(
            "cwc",
            "Channels are split among the classes, whose goodness values compete in every block",
            "Papachristodoulou et al. 2024, arXiv:2312.12668",
            "lbench_contrast.cwc:Cwc",
        ),
    ]
