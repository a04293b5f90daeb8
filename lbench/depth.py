"""The number of layers of a block that come one behind the other, measured by adding noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lbench.layer import Layer, tapped


def longest_chain(block: Callable[[Tensor], object], layers: Sequence[Layer], x: Tensor) -> int:
    """Return the length of the longest chain of calls of a block's layers.

    Noise is added to the output of one layer; the layers whose outputs then change come behind it.
    Parallel layers, such as queries and keys, are no chain; a layer that is called twice on its own
    output counts twice.

    Args:
        block: the block, in evaluation mode.
        layers: the layers of the block.
        x: (1, …), an input of the block.
    """
    plain = _outputs(block, layers, x, None)
    chains: list[int] = []  # longest chain that begins at each call, from the last call backwards
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
    """Return the output of each call of a layer, with noise added to the call ``noisy``."""
    outputs: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)

    def add_noise(layer: Layer, z: Tensor) -> Tensor:
        outputs.append(z)
        if len(outputs) - 1 != noisy:
            return z
        # Noise of this size switches units and gates on and off.
        noise = torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z)
        return z + (1 + z.abs().max()) * noise

    with torch.no_grad(), tapped(layers, add_noise):
        block(x)
    return outputs
