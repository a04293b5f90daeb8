"""Initial weights, drawn from a stream with the parameter's name."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from lbench.randomness import Kind, Randomness

Affine = TypeVar("Affine", bound="nn.Linear | nn.Conv2d")


class Init:
    """Builds modules and tensors whose values depend on the run's seed and their name alone.

    Weights and biases are uniform in ±1/sqrt(fan_in), as PyTorch initialises linear maps and
    convolutions (He et al. 2015 with a gain of 1/sqrt(3)).

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self._randomness = Randomness(seed)
        self._taken: set[str] = set()

    def uniform(self, name: str, shape: tuple[int, ...] | torch.Size, bound: float) -> Tensor:
        """Return a tensor that is uniform in [-bound, bound).

        Raises:
            ValueError: the name was drawn before; two equal names would give equal tensors.
        """
        return self._draw(name, shape, "uniform").mul_(2 * bound).sub_(bound)

    def normal(self, name: str, shape: tuple[int, ...] | torch.Size, std: float) -> Tensor:
        """Return a tensor of independent N(0, std²).

        Raises:
            ValueError: the name was drawn before.
        """
        return self._draw(name, shape, "normal").mul_(std)

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
        """Return a linear map from ``inputs`` to ``outputs`` features.

        Raises:
            ValueError: the name was drawn before.
        """
        return self.fill(name, _Linear(inputs, outputs, bias=bias))

    def conv(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = True,
    ) -> nn.Conv2d:
        """Return a square convolution from ``inputs`` to ``outputs`` channels.

        The default padding is half the kernel, which keeps the size at stride 1.

        Raises:
            ValueError: the name was drawn before.
        """
        module = _Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=kernel // 2 if padding is None else padding,
            groups=groups,
            bias=bias,
        )
        return self.fill(name, module)

    def fill(self, name: str, module: Affine) -> Affine:
        """Draw weight and bias of a linear map or convolution anew, and return it.

        Raises:
            ValueError: the name was drawn before.
        """
        weight = module.weight
        bound = 1 / math.sqrt(weight[0].numel())
        with torch.no_grad():
            weight.copy_(self.uniform(f"{name}.weight", weight.shape, bound))
            if module.bias is not None:
                module.bias.copy_(self.uniform(f"{name}.bias", module.bias.shape, bound))
        return module

    def _draw(self, name: str, shape: tuple[int, ...] | torch.Size, kind: Kind) -> Tensor:
        if name in self._taken:
            raise ValueError(f"Initial values named {name!r} were drawn before; give another name.")
        self._taken.add(name)
        return self._randomness.draw(f"init/{name}", 0, shape, kind)


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Leave the values to Init: PyTorch's own method draws from the global generator."""


class _Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Leave the values to Init."""
