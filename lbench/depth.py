"""How many layers of a block come one behind the other, whichever way its data flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lbench.layer import Layer, tapped


def longest_chain(block: Callable[[Tensor], object], layers: Sequence[Layer], x: Tensor) -> int:
    """Return the most calls of a block's layers that come one behind the other.

    Noise is added to what one layer gives; the layers whose output then changes come behind it.
    Layers beside each other, as queries and keys, are no chain; a layer that is called twice on
    its own output counts twice.

    Args:
        block: in evaluation mode.
        layers: of the block.
        x: (1, …), an input of the block.
    """
    plain = _outputs(block, layers, x, None)
    chains: list[int] = []  # by call: the longest chain that begins there, from the last call on
    for call in reversed(range(len(plain))):
        noisy = _outputs(block, layers, x, call)
        behind = [
            chains[-1 - (later - call - 1)]
            for later in range(call + 1, len(plain))
            if not torch.equal(plain[later], noisy[later])
        ]
        chains.append(1 + max(behind, default=0))
    return max(chains, default=0)


def _outputs(
    block: Callable[[Tensor], object], layers: Sequence[Layer], x: Tensor, noisy: int | None
) -> list[Tensor]:
    """What each call of a layer gives, with noise on one of them."""
    found: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)

    def look(layer: Layer, z: Tensor) -> Tensor:
        found.append(z)
        if len(found) - 1 != noisy:
            return z
        # Noise of this size opens and closes units and gates.
        noise = torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z)
        return z + (1 + z.abs().max()) * noise

    with torch.no_grad(), tapped(layers, look):
        block(x)
    return found
