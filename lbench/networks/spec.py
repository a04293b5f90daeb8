"""NetworkSpec: a network family, as checked options and a method ``build``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lbench.config import Options
from lbench.hooks import NetworkEntry
from lbench.init import Init
from lbench.network import Network


class NetworkSpec(Options):
    """The options of a network family; a subclass declares them with ``param`` and has ``build``.

    ``small`` has the options with which the audit builds a network of this family: a few blocks
    of a few dozen units or channels, for images of 3 x 3 and three classes.
    """

    small: ClassVar[Mapping[str, Any]] = {}

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return the network for inputs of ``shape`` (channels, height, width).

        Raises:
            UsageError: the options are wrong, or do not fit the shape.
        """
        raise NotImplementedError

    def weight_names(self, layer: str, own: str) -> tuple[str, ...]:
        """Return the names that a tensor of the network has in files of weights.

        Args:
            layer: the name of a layer, or ``"readout"``.
            own: the tensor's name in it, such as ``"affine.weight"``, ``"norm.running_mean"`` or,
                in the readout, ``"linear.bias"``.

        Returns:
            The names, any of which a file may use; none for a part that no file has.
        """
        return (f"{layer}.{own.removeprefix('affine.').removeprefix('linear.')}",)


def network_spec(
    entry: NetworkEntry, cls: type[NetworkSpec], options: Mapping[str, Any]
) -> NetworkSpec:
    """Return a network's options: the family's defaults, the entry's preset, then ``options``."""
    return cls.parse(
        {**entry.preset, **options},
        what=f"network {entry.name}",
        listing=f"See its options with: lbench networks {entry.name}",
    )
