"""Subjects of single measurements, without the rest of an audit."""

from __future__ import annotations

import torch

from lbench import Init, Rule, RuleConfig, Task
from lbench.auditing.rule_subject import RuleSubject
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness

SHAPE = (1, 3, 3)


def subject(cls: type[Rule], seed: int = 0, width: int = 24) -> RuleSubject:
    """Return a rule on three layers of equal width, in float64."""
    init = Init(seed)
    network = Mlp(widths=(width, width, width)).build(init, SHAPE, 3)
    rule = cls(network, Task("audit", SHAPE, 3), RuleConfig(), init)
    randomness = Randomness(seed)
    x = randomness.draw("audit/x", 0, (28, *SHAPE)).double()
    order = torch.randperm(28, generator=randomness.generator("audit/target"))
    return RuleSubject(rule, x, order % 3, seed=seed, dtype=torch.float64)
