"""A rule is ready for a GPU without one: its steps use one device and wait for no value."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.spec import network_spec
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.testing.checks import CHECKS, examine
from lbench.testing.one_device import run_without_values
from lbench.testing.subject import Subject
from tests.testing.wrong import Plain, WaitsForValues

SHAPE, CLASSES, ROWS = (3, 8, 8), 4, 8
NETWORKS = ("mlp", "cnn", "resnet", "mixer", "resnet18", "vit-tiny", "convnext-tiny")


class Branch(Plain):
    """A rule that asks for a value before it continues."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        loss = super().loss(batch, s)
        return loss if loss > 1 else 2 * loss


class Kept(Plain):
    """A rule with a tensor that is no buffer, so that it stays behind."""

    def build(self, init: Init) -> None:
        super().build(init)
        self.weights = torch.ones(12)

    def loss(self, batch: Batch, s: Step) -> Tensor:
        means = batch.x.mean((1, 2, 3))
        return super().loss(batch, s) + (self.weights[: len(means)] * means).mean()


class Made(Plain):
    """A rule that makes a tensor on the CPU in its step and writes it into one on the device."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        x = batch.x.clone()
        x.mul_(torch.rand(x.shape[1:]))
        return super().loss(Batch(x, batch.target), s)


class Logs(Plain):
    """A rule that logs a tensor of the CPU."""

    def after_step(self, s: Step) -> None:
        s.log("steps", torch.tensor(1.0))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (WaitsForValues, r"item\(\) cannot be called on meta tensors.*wrong.py:\d+"),
        (Branch, r"item\(\) cannot be called on meta tensors.*test_one_device.py:\d+"),
        (Kept, r"device.*test_one_device.py:\d+"),
        (Made, r"has tensors on cpu and meta.*test_one_device.py:\d+"),
        (Logs, "logs 'steps' on cpu"),
    ],
)
def test_what_would_wait_for_a_gpu_is_found(rule: type[Rule], reason: str) -> None:
    (check,) = (check for check in CHECKS if check.name == "stays_on_its_device")
    outcome = examine(check, Subject(rule))
    assert outcome.status == "failed"
    assert re.search(reason, outcome.detail)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", registry().rules)
def test_a_step_of_every_rule_stays_on_its_device(name: str, network: str) -> None:
    """The kit's networks are smaller and fewer."""
    known, init = registry(), Init(0)
    cls: type[Rule] = known.load("rules", name)
    family = known.load("networks", network)
    spec = network_spec(known.find("networks", network), family, family.small)
    task = Task("toy", SHAPE, CLASSES)
    try:
        rule = cls(spec.build(init, SHAPE, CLASSES), task, cls.Config(), init)
    except UsageError:
        pytest.skip(f"{name} refuses {network}")
    run_without_values(rule, Batch(torch.rand(ROWS, *SHAPE), torch.arange(ROWS) % CLASSES))
