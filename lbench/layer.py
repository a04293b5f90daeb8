"""Layer: one trained affine map with the normalisation behind it; taps, which see its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class Layer(nn.Module):
    """One trained affine map with the normalisation behind it.

    Its output z is the input of the activation behind it; a shortcut that ends there is part of z.

    Args:
        name: its name, which is unique in the network and the same for any grouping into blocks.
        affine: a linear map or convolution.
        norm: the normalisation between the map and the activation; None for none.
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
        """Return the number of output features or channels."""
        return self.affine.weight.shape[0]

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Map (batch, …) to z: (batch, width) or (batch, channels, height, width)."""
        z = self.transform(x)
        if self.norm is not None:
            z = self.norm(z)
        if shortcut is not None:
            z = z + shortcut
        return z if self.tap is None else self.tap(self, z)

    def transform(self, x: Tensor) -> Tensor:
        """Apply the affine map alone; a linear map gets all features of an example in one row."""
        if isinstance(self.affine, nn.Linear) and x.dim() > 2:
            x = x.flatten(1)
        z: Tensor = self.affine(x)
        return z


Tap = Callable[[Layer, Tensor], Tensor]
"""A function of a layer and its z; it returns the z that the forward pass continues with."""


@contextmanager
def tapped(layers: Iterable[Layer], tap: Tap) -> Iterator[None]:
    """Pass each layer's z to ``tap`` in every forward pass within the context."""
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
    """Cut the graph behind every layer's z within the context.

    Yields:
        The layers in the order of the forward pass, each with its z: a cotangent there reaches that
        layer's parameters and nothing else.
    """
    passed: list[tuple[Layer, Tensor]] = []

    def tap(layer: Layer, z: Tensor) -> Tensor:
        passed.append((layer, z))
        return z.detach()

    with tapped(layers, tap):
        yield passed
