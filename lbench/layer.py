"""Layer: one trained affine map with the normalisation behind it; taps that look at its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class Layer(nn.Module):
    """One trained affine map with the normalisation behind it.

    Its output z is what the activation behind it gets; a shortcut that ends there is part of z.

    Args:
        name: unique in the network and the same however the layers are grouped into blocks.
        affine: a linear map or convolution.
        norm: what follows it before the activation.
    """

    def __init__(
        self, name: str, affine: nn.Linear | nn.Conv2d, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.affine = affine
        self.norm = norm
        self.tap: Tap | None = None

    @property
    def width(self) -> int:
        """Output features or channels."""
        return self.affine.weight.shape[0]

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """(batch, …) to z: (batch, width) or (batch, width, height, width)."""
        z = self.transform(x)
        if self.norm is not None:
            z = self.norm(z)
        if shortcut is not None:
            z = z + shortcut
        return z if self.tap is None else self.tap(self, z)

    def transform(self, x: Tensor) -> Tensor:
        """The affine map alone; a linear one gets all features of an example in one row."""
        if isinstance(self.affine, nn.Linear) and x.dim() > 2:
            x = x.flatten(1)
        z: Tensor = self.affine(x)
        return z


Tap = Callable[[Layer, Tensor], Tensor]
"""Gets a layer and its z, and returns the z that goes on: the same, cut, or perturbed."""


@contextmanager
def tapped(layers: Iterable[Layer], tap: Tap) -> Iterator[None]:
    """Within the context every forward pass hands each layer's z to ``tap``."""
    layers = list(layers)
    for layer in layers:
        layer.tap = tap
    try:
        yield
    finally:
        for layer in layers:
            layer.tap = None


@contextmanager
def cut(layers: Iterable[Layer]) -> Iterator[list[tuple[Layer, Tensor]]]:
    """Within the context the graph is cut behind every layer's z.

    Yields:
        The layers that were passed, each with its z: a cotangent there reaches that layer's
        parameters and nothing else.
    """
    passed: list[tuple[Layer, Tensor]] = []

    def tap(layer: Layer, z: Tensor) -> Tensor:
        passed.append((layer, z))
        return z.detach()

    with tapped(layers, tap):
        yield passed
