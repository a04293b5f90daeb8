"""The small network of an audit fits the rule's options, and what was not seen is said."""

from __future__ import annotations

from typing import Any

import pytest

from lbench.auditing.report import UNSEEN
from lbench.auditing.rules import CLASSES, SHAPE, audit_rule, fewer_layers, on_small_network
from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.registry import registry
from lbench.rule import GradientRule, Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_lfnn.lfnn_l import LfnnL


def pooled(spec: NetworkSpec) -> Rule:
    """Return lfnn_l with workers that refuse fully connected layers with softmax."""
    network = spec.build(Init(0), SHAPE, CLASSES)
    return LfnnL(network, Task("audit", SHAPE, CLASSES), LfnnL.Config(workers=2), Init(1))


def spec(network: str, **options: Any) -> NetworkSpec:
    known = registry()
    return network_spec(known.find("networks", network), known.load("networks", network), options)


@pytest.mark.parametrize("network", ["resnet18", "convnext-tiny"])
def test_a_rule_is_audited_without_layers_that_its_network_has_not(network: str) -> None:
    rule, small = on_small_network(spec(network), pooled)
    assert small.model_dump()["hidden"] == ()
    assert len(rule.network.blocks) >= 2


def test_layers_that_the_network_has_stay_in_the_small_one() -> None:
    with pytest.raises(UsageError, match="need forward=relu"):
        on_small_network(spec("resnet18", hidden="30,30"), pooled)
    # Without them one block would be left, in which nothing is above another one.
    with pytest.raises(UsageError, match="need forward=relu"):
        on_small_network(spec("vit-tiny"), pooled)


def test_options_with_fewer_layers_are_those_of_the_run() -> None:
    assert fewer_layers(spec("resnet18")) == {"hidden": ()}
    assert fewer_layers(spec("resnet18", hidden="30,30")) == {}


class Coupled(GradientRule):
    """Backpropagation that claims to couple examples."""

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(couples="mean")

    def loss(self, batch: Batch, s: Step) -> Any:
        return self.task.loss(self.network(batch.x, s), batch.target)


def test_coupling_that_is_claimed_and_not_seen_is_not_contradicted() -> None:
    report = audit_rule(Coupled)
    assert report.measured["couples"] is None
    assert report.verdict == "not measurable"
    assert report.reasons() == [UNSEEN]
