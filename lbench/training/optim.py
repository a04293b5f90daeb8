"""Updates: one optimizer per parameter group, which receives gradients by name.

The arithmetic is PyTorch's, in the functions behind its optimizers. The classes in front of them
import PyTorch's compiler when the first one is made, which takes half a second or more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from lbench.recipe import Recipe
from lbench.rule import Grads, Group

State = dict[str, Tensor]
"""The optimizer's state of a parameter, under PyTorch's names."""


class Update:
    """The optimizer of a parameter group; a call with gradients changes the parameters.

    Args:
        group: the parameters and their factors.
        recipe: optimizer, peak learning rate and decay.
    """

    def __init__(self, group: Group, recipe: Recipe) -> None:
        self.params = dict(group.params)
        self.factor = group.lr
        self.optimizer = _optimizer(recipe, recipe.weight_decay * group.weight_decay)
        self.lr = recipe.lr
        self._states: dict[str, State] = {name: {} for name in self.params}

    def rate(self, lr: float) -> None:
        """Set the learning rate of the next call, without the group's own factor."""
        self.lr = lr * self.factor

    def __call__(self, grads: Grads) -> None:
        """Make one step of the optimizer; a parameter without a gradient stays unchanged."""
        params = self.params
        for name, grad in grads.items():
            # PyTorch raises here if the gradient has another shape, type or device.
            params[name].grad = grad
        names = [name for name in grads if grads[name] is not None]
        with torch.no_grad():
            self.optimizer(
                [params[name] for name in names],
                [grads[name] for name in names],
                [self._states[name] for name in names],
                self.lr,
            )
        for name in grads:
            params[name].grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state by the index of the parameter, in PyTorch's format."""
        states = enumerate(self._states.values())
        return {"state": {index: dict(state) for index, state in states if state}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state of the same group; one of PyTorch's optimizer fits too."""
        for index, (name, param) in enumerate(self.params.items()):
            values = state["state"].get(index, {})
            self._states[name] = {
                key: value.to(param.device).clone() for key, value in values.items()
            }


def _optimizer(
    recipe: Recipe, decay: float
) -> Callable[[list[Tensor], list[Tensor], list[State], float], None]:
    """Return a function of parameters, gradients, states and learning rate that makes a step."""
    if recipe.optimizer == "sgd":
        return functools.partial(_sgd, momentum=recipe.momentum, decay=decay)
    return functools.partial(_adam, decoupled=recipe.optimizer == "adamw", decay=decay)


def _adam(
    params: list[Tensor],
    grads: list[Tensor],
    states: list[State],
    lr: float,
    *,
    decoupled: bool,
    decay: float,
) -> None:
    for param, state in zip(params, states, strict=True):
        if not state:
            state["step"] = torch.zeros((), device=param.device)
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
    adam(
        params,
        grads,
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        # One pass over the parameters instead of one kernel per operation.
        fused=True,
        decoupled_weight_decay=decoupled,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=lr,
        weight_decay=decay,
        eps=1e-8,
        maximize=False,
    )


def _sgd(
    params: list[Tensor],
    grads: list[Tensor],
    states: list[State],
    lr: float,
    *,
    momentum: float,
    decay: float,
) -> None:
    if momentum:
        for param, state in zip(params, states, strict=True):
            if not state:
                # From zero the first step's momentum is its gradient, as in PyTorch.
                state["momentum_buffer"] = torch.zeros_like(param)
    sgd(
        params,
        grads,
        [state["momentum_buffer"] for state in states] if momentum else [],
        fused=True,
        weight_decay=decay,
        momentum=momentum,
        lr=lr,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
