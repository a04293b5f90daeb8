"""Greedy training by auxiliary losses, its end-to-end control, and null models."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "lg_bp",
            "Backpropagation of a local loss inside each block, all at once or one after the other",
            "Belilovsky et al. 2019, arXiv:1812.11446; Ren et al. 2023, arXiv:2210.03310",
            "lbench_greedy.lg_bp:LgBp",
        ),
        RuleEntry(
            "dgl",
            "Decoupled greedy learning of modules with convolutional classifiers",
            "Belilovsky et al. 2020, arXiv:1901.08164",
            "lbench_greedy.dgl:Dgl",
        ),
        RuleEntry(
            "bp_deepsup",
            "Backpropagation of the output loss and of every block's auxiliary loss",
            "Lee et al. 2015, arXiv:1409.5185",
            "lbench_greedy.bp_deepsup:BpDeepSup",
        ),
        RuleEntry(
            "frozen",
            "Null model: a random trunk that is never trained, and a trained readout",
            "null model",
            "lbench_greedy.frozen:Frozen",
        ),
        RuleEntry(
            "softmax_regression",
            "Null model: a linear classifier of pixels",
            "null model",
            "lbench_greedy.softmax_regression:SoftmaxRegression",
        ),
    ]
