"""The end of a network behind its last map: pooled features, hidden layers and the readout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout, spatial_mean


class PooledLayer(Layer):
    """A linear map of an example's features; those with positions are averaged over them first.

    Args:
        name: as in :class:`Layer`.
        linear: the map.
        before: the normalisation of the averaged features; None for none.
    """

    def __init__(self, name: str, linear: nn.Linear, before: nn.Module | None = None) -> None:
        super().__init__(name, linear)
        self.before = before

    def transform(self, x: Tensor) -> Tensor:
        """Map (batch, features) or (batch, features, height, width) to (batch, width)."""
        return super().transform(_pooled(x, self.before))


class NormedReadout(Readout):
    """A readout that normalises the averaged features in front of its map.

    Args:
        linear: the map to logits.
        before: the normalisation of (batch, features).
    """

    def __init__(self, linear: nn.Linear, before: nn.Module) -> None:
        super().__init__(linear)
        self.before = before

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, features) or (batch, features, height, width) to logits (batch, classes)."""
        return super().forward(_pooled(h, self.before))


def with_head(
    name: str,
    blocks: Sequence[Block],
    features: int,
    hidden: Sequence[int],
    classes: int,
    init: Init,
    *,
    norm: nn.Module | None = None,
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
        norm: normalisation of the averaged features; it belongs to the map that reads them.
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
        layer = PooledLayer(label, linear, norm) if number == 1 else Layer(label, linear)
        blocks.append(Block(layer, dropout=dropout))
        features = units
    linear = init.linear("readout", features, classes)
    if norm is None or hidden:
        return Network(blocks, Readout(linear))
    return Network(blocks, NormedReadout(linear, norm))


def _pooled(x: Tensor, norm: nn.Module | None) -> Tensor:
    features = spatial_mean(x)
    if norm is not None:
        features = norm(features)
    return features
