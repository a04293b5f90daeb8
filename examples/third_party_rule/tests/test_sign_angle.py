"""The probe records the angle between feedback and weights, and refuses other rules."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lbench import Init, Rule, Scene, Task, UsageError
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench_rule_sign_pred.sign_angle import SignAngle
from lbench_rule_sign_pred.sign_pred import SignPred

SHAPE, CLASSES = (1, 4, 4), 5


def probe(rule: Rule) -> SignAngle:
    examples: Any = None  # the probe reads none
    return SignAngle("sign_angle", Scene(rule, examples, examples, Randomness(0), 1, 1))


def test_the_angle_is_that_of_the_weights_and_their_signs() -> None:
    init = Init(0)
    network = Mlp(widths=(8, 6)).build(init, SHAPE, CLASSES)
    rule = SignPred(network, Task("toy", SHAPE, CLASSES), SignPred.Config(), init)
    angle = probe(rule)
    angle.begin()
    angle.epoch_end(1, 10)
    assert [row["block"] for row in angle.rows] == [0, 1]
    for row, classifier in zip(angle.rows, rule.heads, strict=True):
        size = classifier.weight.double().abs()
        # w · sign(w) is the sum of absolute values, and every sign has length 1.
        cosine = float(size.sum() / (size.norm() * math.sqrt(size.numel())))
        assert math.cos(math.radians(row["angle"])) == pytest.approx(cosine)
        assert 0 < row["angle"] < 90


def test_other_rules_are_refused() -> None:
    init = Init(0)
    network = Mlp(widths=(8, 6)).build(init, SHAPE, CLASSES)
    with pytest.raises(UsageError, match="needs the rule sign_pred"):
        probe(Rule(network, Task("toy", SHAPE, CLASSES), Rule.Config(), init)).begin()
