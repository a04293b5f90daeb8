"""Network: an ordered list of blocks and a readout. A local rule trains each block by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.depth import longest_chain
from lbench.errors import UsageError
from lbench.layer import Layer, tapped

if TYPE_CHECKING:
    from lbench.step import Step


class Block(nn.Module):
    """One layer, its activation, then pooling and dropout: ``emit(activate(preactivation(x)))``.

    A block of several layers overrides ``layers`` and ``preactivation``; the same elementwise
    activation follows each of them.

    Args:
        layer: the affine map with its normalisation; the last one of several.
        pool: side of the max pooling in :meth:`emit`; 1 for none.
        dropout: share of emitted activations that is set to 0 in training.
    """

    def __init__(self, layer: Layer, *, pool: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = layer
        self.pool = pool
        self.dropout = dropout

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, in the order in which they act."""
        return [self.layer]

    @property
    def name(self) -> str:
        """Return the names of the layers, joined by +."""
        return "+".join(layer.name for layer in self.layers)

    @property
    def width(self) -> int:
        """Return the number of features or channels of the last layer."""
        return self.layers[-1].width

    @property
    def convolutional(self) -> bool:
        """Return whether the block's output has spatial positions."""
        return isinstance(self.layers[-1].affine, nn.Conv2d)

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return z, the values in front of the last activation."""
        z: Tensor = self.layer(x)
        return z

    def activate(self, z: Tensor) -> Tensor:
        """Return h, the activation of z, which local losses read."""
        return F.relu(z)

    def emit(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Return the next block's input: pooling and dropout of h; no dropout without ``s``."""
        return self.drop(F.max_pool2d(h, self.pool) if self.pool > 1 else h, s)

    def drop(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Apply dropout in training, with the same mask in every call of a step.

        Whole channels of a convolution are dropped, so that dropout and pooling can be exchanged;
        single units otherwise.
        """
        if not self.dropout or s is None or not s.train:
            return h
        shape = (*h.shape[:2], 1, 1) if h.dim() == 4 else h.shape
        keep = s.noise(f"dropout/{self.name}", shape, "uniform") >= self.dropout
        return h * keep.to(h.dtype).div_(1 - self.dropout)

    def forward(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return ``emit(activate(preactivation(x)))``."""
        return self.emit(self.activate(self.preactivation(x, s)), s)


class Chain(Block):
    """Several blocks that are trained as one, with the last one's activation and pooling."""

    def __init__(self, parts: Sequence[Block]) -> None:
        nn.Module.__init__(self)
        self.parts = nn.ModuleList(parts)

    def _parts(self) -> list[Block]:
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def layers(self) -> list[Layer]:
        """Return the layers of all parts."""
        return [layer for part in self._parts() for layer in part.layers]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the last part's preactivation of the earlier parts' output."""
        *head, last = self._parts()
        for part in head:
            x = part(x, s)
        return last.preactivation(x, s)

    def activate(self, z: Tensor) -> Tensor:
        """Apply the last part's activation."""
        return self._parts()[-1].activate(z)

    def emit(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Apply the last part's pooling and dropout."""
        return self._parts()[-1].emit(h, s)

    def drop(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Apply the last part's dropout."""
        return self._parts()[-1].drop(h, s)


class Readout(nn.Module):
    """The last linear map, to one logit per class; features with positions are averaged first."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, features) or (batch, channels, height, width) to logits (batch, classes)."""
        logits: Tensor = self.linear(spatial_mean(h))
        return logits


class Pass(NamedTuple):
    """One pass of an example through a layer.

    Args:
        layer: the layer.
        shape: shape of its z, without the batch.
    """

    layer: Layer
    shape: torch.Size


class Network(nn.Module):
    """Blocks and a readout.

    Args:
        blocks: the blocks, in the order in which they act.
        readout: maps the last block's output to logits.

    Attributes:
        blocks: a module list of the blocks.
        input_shape: (channels, height, width) of an example; a rule sets it when it is made.
    """

    blocks: Sequence[Block]

    def __init__(self, blocks: Sequence[Block], readout: Readout) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.readout = readout
        self.input_shape: tuple[int, int, int] | None = None

    @property
    def layers(self) -> list[Layer]:
        """Return the layers of all blocks, in the order in which they act."""
        return [layer for block in self.blocks for layer in block.layers]

    @property
    def block_depth(self) -> int:
        """Return the length of the longest chain of layers that a gradient passes inside a block.

        Parallel layers, such as queries and keys, are no chain. While ``input_shape`` is not known
        it is the largest number of layers of any block.
        """
        if self.input_shape is None:
            return max(len(block.layers) for block in self.blocks)
        with self._evaluating():
            x = self._example(self.input_shape)
            chains = []
            for block in self.blocks:
                chains.append(longest_chain(block, block.layers, x))
                with torch.no_grad():
                    x = block(x)
        return max(chains)

    @property
    def couples(self) -> Literal["none", "mean"]:
        """Return ``"mean"`` if BatchNorm couples the examples of a batch, else ``"none"``."""
        batch_norm = nn.modules.batchnorm._BatchNorm
        return "mean" if any(isinstance(m, batch_norm) for m in self.modules()) else "none"

    def forward(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Map (batch, channels, height, width) to logits (batch, classes)."""
        for block in self.blocks:
            x = block(x, s)
        logits: Tensor = self.readout(x)
        return logits

    def shapes(self, shape: tuple[int, int, int]) -> dict[str, torch.Size]:
        """Return the shape of each layer's z for one example of ``shape``, by the layer's name.

        A block's h has the shape of its last layer's z.
        """
        return {layer.name: size for layer, size in self.passes(shape)}

    def passes(self, shape: tuple[int, int, int]) -> list[Pass]:
        """Return each pass through a layer in a forward pass of one example of ``shape``, in order.

        A layer that acts several times has as many passes.
        """
        passes: list[Pass] = []

        def collect(layer: Layer, z: Tensor) -> Tensor:
            passes.append(Pass(layer, z.shape[1:]))
            return z

        with self._evaluating(), torch.no_grad(), tapped(self.layers, collect):
            x = self._example(shape)
            for block in self.blocks:
                x = block(x)
        return passes

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Put all modules into evaluation mode within the context, then restore their modes."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _example(self, shape: tuple[int, int, int]) -> Tensor:
        """Return random numbers (1, channels, height, width) of the dtype of the weights."""
        weight = self.layers[0].affine.weight
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, *shape, generator=generator).to(weight)

    def regrouped(self, count: int) -> Network:
        """Return a network with the same layers in ``count`` blocks; earlier blocks may be larger.

        Raises:
            UsageError: the network has fewer blocks, or ``count`` is not positive.
        """
        blocks = self.blocks
        if not 1 <= count <= len(blocks):
            raise UsageError(
                f"This network has {len(blocks)} blocks and cannot be cut into {count}.",
                f"Give --blocks a number from 1 to {len(blocks)}.",
            )
        size, larger = divmod(len(blocks), count)
        grouped: list[Block] = []
        start = 0
        for index in range(count):
            stop = start + size + (index < larger)
            part = blocks[start:stop]
            grouped.append(part[0] if len(part) == 1 else Chain(part))
            start = stop
        return Network(grouped, self.readout)


def spatial_mean(h: Tensor) -> Tensor:
    """Average (batch, channels, height, width) to (batch, channels); flatten other features."""
    return h.mean((2, 3)) if h.dim() == 4 else h.flatten(1)


def reached(logits: Tensor, parameters: Sequence[nn.Parameter]) -> list[bool]:
    """Return for each parameter whether the graph of ``logits``, if there is one, reaches it."""
    if not logits.requires_grad:
        return [False] * len(parameters)
    grads = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    return [grad is not None for grad in grads]


def affecting(
    predict: Callable[[], Tensor], parameters: Sequence[nn.Parameter]
) -> list[nn.Parameter]:
    """Return the parameters whose values change the logits, whether these have a graph or not.

    Each parameter in turn is set to NaN, which spreads through all values that depend on it; then
    it is restored.
    """
    with torch.no_grad():
        plain = predict().clone()

        def change(some: Sequence[nn.Parameter]) -> bool:
            before = [parameter.clone() for parameter in some]
            try:
                for parameter in some:
                    parameter.fill_(math.nan)
                return not torch.allclose(predict(), plain, rtol=0, atol=0, equal_nan=True)
            finally:
                for parameter, value in zip(some, before, strict=True):
                    parameter.copy_(value)

        # Nearly always none does, which a single test of all of them shows.
        if not parameters or not change(parameters):
            return []
        return [parameter for parameter in parameters if change([parameter])]
