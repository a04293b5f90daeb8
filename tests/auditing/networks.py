"""Networks that are no plain chain of layers, built as the author of a plugin would build them.

Each has at most 12 layers and 50,000 parameters on the images of the audit, and is an honest
network: whatever the audit holds against a rule on one of them is a false alarm, or a claim that
holds on chains of layers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lbench import Block, Init, Layer, Network, Readout, Step, spatial_mean
from lbench.config import param
from lbench.networks.norm import norm
from lbench.networks.spec import NetworkSpec

Shape = tuple[int, int, int]


class Several(Block):
    """A block of several layers; the last one makes the preactivation of the block.

    Args:
        layers: the layers, in the order in which they act.
        dropout: share of emitted activations set to 0 in training.
    """

    def __init__(self, *layers: Layer, dropout: float = 0.0) -> None:
        *inner, last = layers
        super().__init__(last, dropout=dropout)
        self.inner = nn.ModuleList(inner)

    @property
    def layers(self) -> list[Layer]:
        """Return all layers, in the order in which they act."""
        return [*cast("list[Layer]", list(self.inner)), self.layer]


class Parallel(Several):
    """Two convolutions, and a third one as the shortcut (option B of ResNet-18)."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the second convolution's output plus the downsampled input."""
        first, beside, second = self.layers
        return cast(Tensor, second(self.activate(first(x)), beside(x)))


class Identity(Several):
    """Two convolutions with the block's input as the shortcut."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the second convolution's output plus the input."""
        first, second = self.layers
        return cast(Tensor, second(self.activate(first(x)), x))


class Attention(Several):
    """Attention of one head over the positions, then the projection, with a shortcut."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the projection, (batch, channels, positions), plus the input."""
        query, key, value, projection = self.layers
        q, k, v = (layer(x).flatten(2) for layer in (query, key, value))
        weights = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(2)
        mixed = (v @ weights.transpose(1, 2)).view_as(x)
        return cast(Tensor, projection(mixed, x))


class Gated(Several):
    """A gated linear unit and the layer that reads it (Shazeer 2020, arXiv:2002.05202)."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the output layer applied to the values times their gates."""
        gate, value, output = self.layers
        return cast(Tensor, output(value(x) * gate(x).sigmoid()))


class Twice(Several):
    """One convolution that acts twice, with the activation between the two uses."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the preactivation of the second use plus the input."""
        return cast(Tensor, self.layer(self.activate(self.layer(x)), x))


class LayerScale(nn.Module):
    """A trained factor per channel."""

    def __init__(self, width: int, value: float = 0.5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width, 1, 1), value))

    def forward(self, z: Tensor) -> Tensor:
        """Return the scaled channels: (batch, channels, height, width) to the same shape."""
        return self.gamma * z


class ConvNext(Several):
    """A depthwise convolution, a wide layer and a scaled narrow one, with a shortcut."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the scaled output of the narrow layer plus the input."""
        depthwise, wide, narrow = self.layers
        return cast(Tensor, narrow(self.activate(wide(depthwise(x))), x))

    def activate(self, z: Tensor) -> Tensor:
        """Return GELU of the preactivation."""
        return F.gelu(z)


class Squeeze(Several):
    """A convolution, gates for its channels from their means, and a convolution that reads them."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the last convolution's output plus the input."""
        wide, squeeze, excite, narrow = self.layers
        h = self.activate(wide(x))
        gates = excite(self.activate(squeeze(spatial_mean(h)))).sigmoid()
        return cast(Tensor, narrow(h * gates[:, :, None, None], x))


class Shuffled(Several):
    """Two grouped convolutions; the channels of all groups are mixed between them."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the second convolution's output plus the input."""
        first, second = self.layers
        h = self.activate(first(x))
        groups = second.affine.groups  # type: ignore[union-attr]
        mixed = h.view(len(h), groups, -1, *h.shape[2:]).transpose(1, 2).reshape(h.shape)
        return cast(Tensor, second(mixed, x))


class Unusual(NetworkSpec):
    """A first convolution, blocks of one kind from a subclass, and the readout."""

    width: int = param(24, low=1, help="Channels of every block")
    norm: Literal["batch", "group", "none"] = param("batch", help="Behind the convolutions")

    def build(self, init: Init, shape: Shape, classes: int, dropout: float = 0.0) -> Network:
        """Return a network of the layer ``stem``, the layers of the blocks, and the readout."""
        stem = Block(self.conv(init, "stem", shape[0], self.width), dropout=dropout)
        blocks = [stem, *self.blocks(init, dropout)]
        readout = init.linear("readout", blocks[-1].width, classes)
        return Network(blocks, Readout(readout))

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        """Return the blocks after the first convolution."""
        raise NotImplementedError

    def conv(
        self, init: Init, name: str, inputs: int, outputs: int, kernel: int = 3, *,
        stride: int = 1, groups: int = 1, plain: bool = False,
    ) -> Layer:  # fmt: skip
        """Return a convolution; a plain one has no normalisation."""
        kind = "none" if plain else self.norm
        conv = init.conv(
            name, inputs, outputs, kernel, stride=stride, groups=groups, bias=kind == "none"
        )
        return Layer(name, conv, norm(kind, outputs))


class ResNet18(Unusual):
    """The blocks of ResNet-18: one with a plain shortcut, one that halves the maps."""

    width: int = param(18, low=1, help="Channels of the first block; the second has twice as many")

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        first = [self.conv(init, f"block1.{name}", w, w) for name in ("first", "second")]
        second = [
            self.conv(init, "block2.first", w, 2 * w, stride=2),
            self.conv(init, "block2.downsample", w, 2 * w, 1, stride=2),
            self.conv(init, "block2.second", 2 * w, 2 * w),
        ]
        return [Identity(*first, dropout=dropout), Parallel(*second, dropout=dropout)]


class Transformer(Unusual):
    """Two blocks of attention, whose queries, keys and values are parallel layers."""

    norm: Literal["batch", "group", "none"] = param("group", help="Behind the projections")

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        blocks = []
        for k in (1, 2):
            parts = [
                self.conv(init, f"attention{k}.{name}", w, w, 1, plain=True)
                for name in ("query", "key", "value")
            ]
            projection = self.conv(init, f"attention{k}.projection", w, w, 1)
            blocks.append(Attention(*parts, projection, dropout=dropout))
        return blocks


class GatedConv(Unusual):
    """Two blocks whose values are multiplied by gates."""

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        return [
            Gated(
                self.conv(init, f"gated{k}.gate", w, w, plain=True),
                self.conv(init, f"gated{k}.value", w, w, plain=True),
                self.conv(init, f"gated{k}.output", w, w, 1),
                dropout=dropout,
            )
            for k in (1, 2)
        ]


class TiedConv(Unusual):
    """Two blocks of one convolution that acts twice."""

    norm: Literal["batch", "group", "none"] = param("none", help="Behind the convolutions")

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        return [Twice(self.conv(init, f"tied{k}", w, w), dropout=dropout) for k in (1, 2)]


class WeightNormed(Unusual):
    """Three convolutions whose weights are a direction and a length."""

    norm: Literal["batch", "group", "none"] = param("none", help="Behind the convolutions")

    def conv(self, init: Init, *args: object, **options: object) -> Layer:  # type: ignore[override]
        """Return a convolution with weight normalisation."""
        layer = super().conv(init, *args, **options)  # type: ignore[arg-type]
        weight_norm(layer.affine)
        return layer

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        return [Block(self.conv(init, f"conv{k}", w, w), dropout=dropout) for k in (1, 2)]


class ConvNextLike(Unusual):
    """Two blocks of a depthwise convolution and two layers, scaled by channel."""

    norm: Literal["batch", "group", "none"] = param("group", help="Behind the first convolutions")

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        blocks = []
        for k in (1, 2):
            depthwise = self.conv(init, f"next{k}.depthwise", w, w, groups=w)
            wide = self.conv(init, f"next{k}.wide", w, 4 * w, 1, plain=True)
            narrow = self.conv(init, f"next{k}.narrow", 4 * w, w, 1, plain=True)
            narrow.norm = LayerScale(w)  # a block's parameters belong to its layers
            blocks.append(ConvNext(depthwise, wide, narrow, dropout=dropout))
        return blocks


class SqueezeExcite(Unusual):
    """Two blocks whose channels are multiplied by gates from their means."""

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w = self.width
        blocks = []
        for k in (1, 2):
            wide = self.conv(init, f"squeeze{k}.wide", w, w)
            fewer = Layer(f"squeeze{k}.squeeze", init.linear(f"squeeze{k}.squeeze", w, w // 2))
            gates = Layer(f"squeeze{k}.excite", init.linear(f"squeeze{k}.excite", w // 2, w))
            narrow = self.conv(init, f"squeeze{k}.narrow", w, w, 1)
            blocks.append(Squeeze(wide, fewer, gates, narrow, dropout=dropout))
        return blocks


class Grouped(Unusual):
    """Two blocks of grouped convolutions with shuffled channels."""

    groups: int = param(3, low=1, help="Of channels")

    def blocks(self, init: Init, dropout: float) -> Sequence[Block]:
        w, g = self.width, self.groups
        return [
            Shuffled(
                self.conv(init, f"grouped{k}.first", w, w, groups=g),
                self.conv(init, f"grouped{k}.second", w, w, groups=g),
                dropout=dropout,
            )
            for k in (1, 2)
        ]


UNUSUAL: dict[str, NetworkSpec] = {
    "ResNet-18": ResNet18(),
    "attention": Transformer(),
    "gated": GatedConv(),
    "tied convolution": TiedConv(),
    "weight norm": WeightNormed(),
    "ConvNeXt": ConvNextLike(),
    "squeeze and excitation": SqueezeExcite(),
    "grouped": Grouped(),
}
