"""An encoder that is never trained, in front of the first block that is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbench.errors import UsageError
from lbench.layer import Layer
from lbench.network import Block, Network
from lbench.networks.spec import NetworkSpec
from lbench.step import Step


class FixedNorm(nn.Module):
    """BatchNorm with the running statistics, scale and shift that it has, in training too.

    Args:
        norm: the normalisation.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        width = norm.num_features
        mean, variance = (
            torch.zeros(width) if norm.running_mean is None else norm.running_mean,
            torch.ones(width) if norm.running_var is None else norm.running_var,
        )
        scale = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight.detach())
        shift = (0 if norm.bias is None else norm.bias.detach()) - mean * scale
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, z: Tensor) -> Tensor:
        """Normalise (batch, channels, …)."""
        sides = (-1, *[1] * (z.dim() - 2))
        return z * self.scale.view(sides) + self.shift.view(sides)


class Encoded(Block):
    """A block that reads the output of a fixed encoder; the encoder is no part of its layers.

    Args:
        encoder: the blocks of the encoder.
        block: the block.
    """

    def __init__(self, encoder: Sequence[Block], block: Block) -> None:
        nn.Module.__init__(self)
        self.encoder = nn.ModuleList(encoder)
        self.block = block

    @property
    def layers(self) -> list[Layer]:
        """Return the layers of the block."""
        return self.block.layers

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the block's z for images; the encoder has no dropout and no graph."""
        with torch.no_grad():
            for block in self.encoder:
                x = block(x)
        return self.block.preactivation(x, s)

    def activate(self, z: Tensor) -> Tensor:
        """Apply the block's activation."""
        return self.block.activate(z)

    def emit(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Apply the block's pooling and dropout."""
        return self.block.emit(h, s)

    def drop(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Apply the block's dropout."""
        return self.block.drop(h, s)


def with_frozen_encoder(network: Network, spec: NetworkSpec) -> Network:
    """Return a network whose blocks are those behind the encoder, which is in front of the first.

    The encoder consists of the blocks that files of weights have.

    Raises:
        UsageError: there is no block behind it.
    """
    own = [
        bool(spec.weight_names(layer.name, "affine.weight"))
        for block in network.blocks
        for layer in block.layers[:1]
    ]
    count = own.index(False) if False in own else len(own)
    encoder, behind = list(network.blocks[:count]), list(network.blocks[count:])
    if not behind:
        raise UsageError(
            "With --freeze-encoder, this network has no block left to train.",
            "Add fully connected layers behind the encoder: --net hidden=2000, with a network that "
            "has this option, such as resnet50.",
        )
    for block in encoder:
        block.requires_grad_(False)
        _fix(block)
    return Network([Encoded(encoder, behind[0]), *behind[1:]], network.readout)


def _fix(module: nn.Module) -> None:
    """Replace each BatchNorm inside a module by one that keeps its statistics."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, FixedNorm(child))
        else:
            _fix(child)
