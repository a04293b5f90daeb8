"""Small networks with local losses in float64, and similarities computed by loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
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
from lbench_local_loss.predsim import PredSim

Array = Any
CLASSES = 3
MLP = Mlp(widths=(7, 6))
NETS: dict[str, NetworkSpec] = {
    "mlp": MLP,
    "cnn": Cnn(widths=(6, 5)),
    "resnet": Resnet(depth=8, width=4),
    "mixer": LocalMixer(patches=2, channels=6, groups=2, depth=2),
}
NET = pytest.mark.parametrize("net", NETS)


def make(
    net: NetworkSpec = MLP,
    rule: type[Rule] = PredSim,
    *,
    task: type[Task] = Task,
    dropout: float = 0.0,
    shape: tuple[int, int, int] = (1, 4, 4),
    classes: int = CLASSES,
    **options: Any,
) -> Any:
    """Return a rule in float64 whose predicting heads do not start at 0."""
    init = Init(0)
    network = net.build(init, shape, classes, dropout)
    made = rule(network, task("toy", shape, classes), rule.Config(**options), init).double()
    for name, p in made.named_parameters():
        if name.startswith("predictors.") and p.requires_grad:
            p.data.copy_(init.uniform(f"test.{name}", p.shape, 0.5))
    return made


def batch_of(size: int = 8, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 1, 4, 4, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (size,), generator=g))


def gradients(rule: Rule, batch: Batch, s: Step | None = None) -> dict[str, Tensor]:
    """Return the gradients that the optimizers receive in one step; no parameter changes."""
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update({name: grad.detach().clone() for name, grad in grads.items()})

    rule.attach({group.name: keep for group in rule.groups()})
    rule.step(batch, s or Step(Randomness(0)))
    return received


def of_block(grads: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    """Return the gradients of block ``k`` and of its heads."""
    lists = ("network.blocks", "predictors", "maps", "projections", "waves")
    own = tuple(f"{name}.{k}." for name in lists)
    block_grads = {name: grad for name, grad in grads.items() if name.startswith(own)}
    assert block_grads
    return block_grads


def similarities(x: Array) -> Array:
    """Return the similarities S of (batch, …), by loops over pairs."""
    if x.ndim == 4 and x.shape[1] > 3 and x.shape[2] > 1:
        x = x.reshape(*x.shape[:2], -1).std(axis=2, ddof=1)
    x = x.reshape(len(x), -1)
    s = np.empty((len(x), len(x)))
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            s[i, j] = np.corrcoef(a, b)[0, 1]
    return s


def wanted(target: Array, classes: int) -> Array:
    """Return the similarities S of one-hot labels."""
    return similarities(np.eye(classes)[target])
