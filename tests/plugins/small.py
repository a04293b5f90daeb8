"""Small rules in float64 on networks of every family, and the gradients of one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task

SHAPE, CLASSES = (2, 4, 4), 5

NETS: dict[str, NetworkSpec] = {
    "mlp": Mlp(widths=(9, 8, 7)),
    "cnn": Cnn(widths=(4, 6, 5)),
    "cnn without norm": Cnn(widths=(4, 6, 5), norm="none"),
    "resnet": Resnet(depth=8, width=3),
    "resnet of group norm": Resnet(depth=8, width=3, norm="group"),
    "mixer": LocalMixer(patches=2, channels=12, groups=3, depth=2),
}


def make(
    rule: type[Rule],
    net: NetworkSpec,
    *,
    blocks: int | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Any:
    """Return a rule in float64; all rules have the same initial weights."""
    init = Init(1)
    network = net.build(init, SHAPE, CLASSES, dropout)
    network = network if blocks is None else network.regrouped(blocks)
    return rule(network, Task("toy", SHAPE, CLASSES), rule.Config(**options), init).double()


def batch_of(size: int = 6, seed: int = 2) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, *SHAPE, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (size,), generator=g))


def gradients(rule: Rule, batch: Batch, index: int = 0) -> dict[str, Tensor]:
    """Return the gradients that the optimizers receive in one step; no parameter changes."""
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update({name: grad.detach().clone() for name, grad in grads.items()})

    rule.attach({group.name: keep for group in rule.groups()})
    rule.step(batch, Step(Randomness(0), index))
    return received


def descend(rule: Rule, grads: Mapping[str, Tensor], lr: float) -> None:
    params = dict(rule.named_parameters())
    with torch.no_grad():
        for name, grad in grads.items():
            params[name].sub_(grad, alpha=lr)


def assert_same(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Assert that gradients have the same names, and values to 1e-9 of each one's largest entry."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        scale = max(value.abs().max().item(), 1e-3)
        assert (actual[name] - value).abs().max().item() <= 1e-9 * scale, name
