"""Updates: one optimizer a parameter group, fed with gradients by name."""

from __future__ import annotations

from typing import Any

import torch

from lbench.recipe import Recipe
from lbench.rule import Grads, Group


class Update:
    """Changes a group's parameters along the gradients that it is called with.

    Args:
        group: the parameters and their factors.
        recipe: optimizer, peak learning rate and decay.
    """

    def __init__(self, group: Group, recipe: Recipe) -> None:
        self.params = dict(group.params)
        self.factor = group.lr
        self.optimizer = _optimizer(
            list(self.params.values()), recipe, recipe.weight_decay * group.weight_decay
        )

    def rate(self, lr: float) -> None:
        """Sets the learning rate of the next call, before the group's own factor."""
        self.optimizer.param_groups[0]["lr"] = lr * self.factor

    def __call__(self, grads: Grads) -> None:
        """One step of the optimizer; a parameter without a gradient stays."""
        params = self.params
        for name, grad in grads.items():
            params[name].grad = grad
        self.optimizer.step()
        for name in grads:
            params[name].grad = None

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state of the same group."""
        self.optimizer.load_state_dict(state)


def _optimizer(
    params: list[torch.nn.Parameter], recipe: Recipe, decay: float
) -> torch.optim.Optimizer:
    # Fused: one pass over the parameters instead of one kernel an operation.
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            params, lr=recipe.lr, momentum=recipe.momentum, weight_decay=decay, fused=True
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(params, lr=recipe.lr, weight_decay=decay, fused=True)
