"""The number of threads that train a network, decided by its size before the first step.

The number of threads changes the order in which sums are formed, and so the last bits of a result.
It therefore depends on network, batch and available cores, never on a timing. A run records it,
and a resumed run uses the recorded number.
"""

from __future__ import annotations

from lbench.network import Network

PER_THREAD = 2**26
"""Multiplications in a step's forward pass that pay for one more thread.

Measured on two cores with threads that sleep while they wait and batches of 128: the time of a
step with one thread over that with two is 0.7 at 0.5, 1.0 at 1.2, 1.3 at 3.4 and 1.4 at 7.3 times
this number of multiplications. With threads that spin, on a quiet machine, it is 1.3 at 0.5.
"""


def multiplications(network: Network, shape: tuple[int, int, int]) -> int:
    """Count the multiplications in the affine maps of the blocks for one example.

    Args:
        shape: shape of an example, (channels, height, width).
    """
    outputs = network.shapes(shape)
    return sum(
        layer.affine.weight[0].numel() * outputs[layer.name].numel() for layer in network.layers
    )


def threads_for(network: Network, shape: tuple[int, int, int], batch: int, cores: int) -> int:
    """Return one thread per :data:`PER_THREAD` multiplications of a step, from 1 to ``cores``.

    Args:
        shape: shape of an example, (channels, height, width).
        batch: examples per step.
        cores: number of cores that the run may use.
    """
    return max(1, min(cores, batch * multiplications(network, shape) // PER_THREAD))
