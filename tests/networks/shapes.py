"""Networks without values, whose parameters can be counted in an instant."""

from __future__ import annotations

import torch
from torch import Tensor

from lbench.init import Init
from lbench.network import Network
from lbench.networks.spec import NetworkSpec


class NoValues(Init):
    """Initial weights that have a shape alone, on PyTorch's meta device."""

    def uniform(self, name: str, shape: tuple[int, ...] | torch.Size, bound: float) -> Tensor:
        """Return a tensor without values."""
        return torch.empty(shape, device="meta")

    def normal(self, name: str, shape: tuple[int, ...] | torch.Size, std: float) -> Tensor:
        """Return a tensor without values."""
        return torch.empty(shape, device="meta")


def without_values(spec: NetworkSpec, shape: tuple[int, int, int], classes: int) -> Network:
    """Return a network of a family on the meta device."""
    with torch.device("meta"):
        return spec.build(NoValues(0), shape, classes)
