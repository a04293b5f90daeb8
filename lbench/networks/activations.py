"""Elementwise activations in a module's forward pass, in each of their spellings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

Function = Callable[..., Tensor]

MODULES: Mapping[type[nn.Module], tuple[Function, Mapping[str, Any]]] = {
    nn.ReLU: (F.relu, {}),
    nn.ReLU6: (F.relu6, {}),
    nn.LeakyReLU: (F.leaky_relu, {"negative_slope": 0.01}),
    nn.ELU: (F.elu, {"alpha": 1.0}),
    nn.CELU: (F.celu, {"alpha": 1.0}),
    nn.SELU: (F.selu, {}),
    nn.GELU: (F.gelu, {"approximate": "none"}),
    nn.SiLU: (F.silu, {}),
    nn.Mish: (F.mish, {}),
    nn.Hardswish: (F.hardswish, {}),
    nn.Hardsigmoid: (F.hardsigmoid, {}),
    nn.Hardtanh: (F.hardtanh, {"min_val": -1.0, "max_val": 1.0}),
    nn.Softplus: (F.softplus, {"beta": 1.0, "threshold": 20.0}),
    nn.Softsign: (F.softsign, {}),
    nn.Sigmoid: (torch.sigmoid, {}),
    nn.Tanh: (torch.tanh, {}),
}
"""Function and default parameters by module."""
DEFAULTS: Mapping[Function, Mapping[str, Any]] = dict(MODULES.values())
ALIASES: Mapping[Any, Function] = {
    torch.relu: F.relu,
    torch.relu_: F.relu,
    F.relu_: F.relu,
    F.leaky_relu_: F.leaky_relu,
    F.elu_: F.elu,
    F.selu_: F.selu,
    F.celu_: F.celu,
    F.hardtanh_: F.hardtanh,
    F.sigmoid: torch.sigmoid,
    F.tanh: torch.tanh,
    "relu": F.relu,
    "relu_": F.relu,
    "sigmoid": torch.sigmoid,
    "sigmoid_": torch.sigmoid,
    "tanh": torch.tanh,
    "tanh_": torch.tanh,
}
"""Other spellings; a text is a method of a tensor."""
NOT_MONOTONE = (F.gelu, F.silu, F.mish, F.hardswish)
"""Activations that do not commute with max pooling."""


@dataclass(frozen=True)
class Activation:
    """An elementwise activation that does not write into its input.

    Args:
        function: the function.
        parameters: its parameters by name.
    """

    function: Function
    parameters: tuple[tuple[str, Any], ...] = ()

    def __call__(self, z: Tensor) -> Tensor:
        """Apply the activation to z."""
        return self.function(z, **dict(self.parameters))

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.function.__name__}({listed})"

    @property
    def monotone(self) -> bool:
        """Return whether a larger z never has a smaller activation."""
        slope = dict(self.parameters).get("negative_slope", 0.0)
        return self.function not in NOT_MONOTONE and slope >= 0


def activation_of(node: fx.Node, modules: Mapping[str, nn.Module]) -> Activation | None:
    """Return the activation that a node of a graph applies to its first argument; None for none."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if type(module) not in MODULES:
            return None
        function, defaults = MODULES[type(module)]
        parameters = {name: getattr(module, name) for name in defaults}
    else:
        target: Any = node.target
        function = ALIASES.get(target, target)
        if function not in DEFAULTS:
            return None
        # What follows behind the parameters is inplace, which is never used here.
        given = dict(zip(DEFAULTS[function], node.args[1:], strict=False))
        given |= {name: value for name, value in node.kwargs.items() if name != "inplace"}
        given.pop("input", None)
        parameters = {**DEFAULTS[function], **given}
    return Activation(function, tuple(sorted(parameters.items())))
