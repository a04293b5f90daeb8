"""The end of a network behind its last map: pooled features, hidden layers and the readout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout, spatial_mean


class PooledLayer(Layer):
    """A linear map of an example's features; those with positions are averaged over them first."""

    def transform(self, x: Tensor) -> Tensor:
        """Map (batch, features) or (batch, features, height, width) to (batch, width)."""
        return super().transform(spatial_mean(x))


def with_head(
    name: str,
    blocks: Sequence[Block],
    features: int,
    hidden: Sequence[int],
    classes: int,
    init: Init,
    dropout: float = 0.0,
) -> Network:
    """Return a network of these blocks, one more per fully connected layer, and a readout.

    The layers are ``hidden1``, ``hidden2``, …, with ReLU behind each of them.

    Args:
        name: name of the network's family, for messages.
        blocks: the blocks in front.
        features: channels of the last block.
        hidden: units of the fully connected layers.
        classes: number of classes.
        init: draws the initial weights.
        dropout: share of the fully connected layers' activations that is set to 0 in training.

    Raises:
        UsageError: a number of units is not positive.
    """
    if any(units < 1 for units in hidden):
        raise UsageError(
            f"Network {name} needs positive numbers of hidden units, but got {list(hidden)}.",
            "Give it one for each fully connected layer, as in --net hidden=2000.",
        )
    blocks = list(blocks)
    for number, units in enumerate(hidden, start=1):
        label = f"hidden{number}"
        linear = init.linear(label, features, units)
        blocks.append(Block(PooledLayer(label, linear), dropout=dropout))
        features = units
    return Network(blocks, Readout(init.linear("readout", features, classes)))
