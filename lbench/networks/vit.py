"""vit: vision transformers, whose blocks are encoder blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Chain, Network
from lbench.networks.head import with_head
from lbench.networks.residual import NormLayer, Unactivated
from lbench.networks.spec import NetworkSpec
from lbench.step import Step

SMALL, PATCHES = 64, 8
"""Images of up to SMALL pixels per side have about PATCHES patches per side by default."""
MLP = 4
"""Width of an encoder block's hidden layer, per channel of a token."""
STD = 0.02
"""Standard deviation of the initial position embeddings."""
TIMM = (
    ("encoder.layers.encoder_layer_", "blocks."),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj", "attn.proj"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
    ("ln_1", "norm1"),
    ("ln_2", "norm2"),
    ("conv_proj", "patch_embed.proj"),
    ("class_token", "cls_token"),
    ("encoder.pos_embedding", "pos_embed"),
    ("encoder.ln", "norm"),
    ("heads.head", "head"),
)
"""Parts of torchvision's names, and those of timm in their place."""


class Embedding(Layer):
    """The map of patches to tokens, with a position embedding and possibly a class token.

    Args:
        name: as in :class:`Layer`; so is ``affine``.
        affine: a convolution whose stride is its kernel.
        positions: the position embedding, (1, tokens, channels).
        class_token: (1, 1, channels) for a further token in front of the others, or None.
    """

    def __init__(
        self, name: str, affine: nn.Conv2d, positions: Tensor, class_token: Tensor | None
    ) -> None:
        super().__init__(name, affine)
        self.pos_embedding = nn.Parameter(positions)
        self.class_token = None if class_token is None else nn.Parameter(class_token)

    def transform(self, x: Tensor) -> Tensor:
        """Map images to tokens: (batch, channels, rows, columns), or (batch, channels, tokens, 1).

        The second form has the class token in the first place.
        """
        z = super().transform(x)
        positions = self.pos_embedding.transpose(1, 2)
        if self.class_token is None:
            return z + positions.view(1, *z.shape[1:])
        first = self.class_token.transpose(1, 2).expand(len(z), -1, -1)
        return (torch.cat([first, z.flatten(2)], 2) + positions).unsqueeze(3)


class EncoderBlock(Unactivated):
    """Attention between tokens, then two layers at each token; each adds to its input.

    The input is normalised in front of both (Dosovitskiy et al. 2021, arXiv:2010.11929,
    equations 2 and 3). GELU follows the first of the two layers, and no other one.

    Args:
        layers: normalisation, the map to queries, keys and values, the map of what attention
            returns, normalisation, and the two layers at each token.
        heads: number of attention's heads.
        dropout: share of emitted activations that is set to 0 in training.
    """

    def __init__(self, layers: Sequence[Layer], *, heads: int, dropout: float = 0.0) -> None:
        *inner, last = layers
        super().__init__(last, dropout=dropout)
        self.inner = nn.ModuleList(inner)
        self.heads = heads

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, in the order in which they act."""
        return [*cast("list[Layer]", list(self.inner)), self.layer]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return z, the tokens behind both additions."""
        norm, attend, project, norm2, widen = self.inner
        x = project(attention(attend(norm(x)), self.heads), x)
        z: Tensor = self.layer(F.gelu(widen(norm2(x))), x)
        return z


def attention(qkv: Tensor, heads: int) -> Tensor:
    """Return softmax(q kᵀ/√d) v of each head, with d channels per head.

    Args:
        qkv: queries, keys and values, (batch, 3 * channels, …).
        heads: number of heads, which share the channels equally.

    Returns:
        (batch, channels, …).
    """
    batch, channels, *size = qkv.shape
    parts = qkv.flatten(2).transpose(1, 2).reshape(batch, -1, 3, heads, channels // 3 // heads)
    q, k, v = (part.transpose(1, 2) for part in parts.unbind(2))
    if forward_ad.unpack_dual(q).tangent is None:  # type: ignore[no-untyped-call]
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:  # the fused function has no forward derivative
        mixed = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3) @ v
    return mixed.transpose(2, 3).reshape(batch, channels // 3, *size)


class Vit(NetworkSpec):
    """One block per encoder block, with the embedding of patches in front of the first.

    The last normalisation is in the last block: its h is what the readout classifies.

    The layers are those of torchvision's models, under their names (Dosovitskiy et al. 2021,
    arXiv:2010.11929). Tokens are arranged as images: (batch, channels, tokens, 1) with a class
    token, (batch, channels, rows, columns) without one.
    """

    small: ClassVar[Mapping[str, Any]] = {
        "patch": 1,
        "channels": 24,
        "depth": 1,
        "heads": 2,
        "hidden": (24, 24),
    }

    patch: int | None = param(
        None,
        low=1,
        help=f"Side of a patch; none: 16, or for images of up to {SMALL} pixels per side the "
        f"largest that gives {PATCHES} or more patches per side",
    )
    channels: int = param(192, low=1, help="Channels of a token")
    depth: int = param(12, low=1, help="Encoder blocks")
    heads: int = param(3, low=1, help="Heads of attention, which share the channels equally")
    pool: Literal["token", "mean"] = param(
        "token", help="What is classified: a class token, or the mean of all tokens, which then "
        "has no class token among them"
    )  # fmt: skip
    hidden: tuple[int, ...] = param(
        (), help="Units of fully connected layers behind the last encoder block; each is a block"
    )

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return ``conv_proj``, six layers per encoder block, ``encoder.ln`` and the readout."""
        if self.channels % self.heads:
            raise UsageError(
                f"Network vit cannot form {self.heads} heads of {self.channels} channels.",
                "Give it a number of heads that divides the number of channels.",
            )
        patch = self.patch or _patch(*shape[1:])
        if any(side % patch for side in shape[1:]):
            raise UsageError(
                f"Network vit cannot cut images of {shape[1]}x{shape[2]} into patches of "
                f"{patch}x{patch}.",
                "Give it a side that divides those of the images, as in --net patch=4.",
            )
        blocks: list[Block] = [self._block(init, number, dropout) for number in range(self.depth)]
        blocks[0] = Chain([Unactivated(self._embedding(init, shape, patch)), blocks[0]])
        of: Literal["first", "mean"] = "first" if self.pool == "token" else "mean"
        last = NormLayer("encoder.ln", init, self.channels, of)
        blocks[-1] = Chain([blocks[-1], Unactivated(last, dropout=dropout)])
        return with_head("vit", blocks, self.channels, self.hidden, classes, init, dropout)

    def weight_names(self, layer: str, own: str) -> tuple[str, ...]:
        """Return the names of torchvision and of timm; fully connected layers are in no file."""
        if layer.startswith("hidden"):
            return ()
        if own in ("class_token", "pos_embedding"):
            name = "class_token" if own == "class_token" else "encoder.pos_embedding"
        else:
            between = "_" if layer.endswith("in_proj") else "."
            layer = "heads.head" if layer == "readout" else layer
            name = f"{layer}{between}{own.partition('.')[2]}"
        timm = name
        for part, other in TIMM:
            timm = timm.replace(part, other)
        return name, timm

    def _embedding(self, init: Init, shape: tuple[int, int, int], patch: int) -> Embedding:
        name, width = "conv_proj", self.channels
        conv = init.conv(name, shape[0], width, patch, stride=patch, padding=0)
        token = self.pool == "token"
        tokens = math.prod(shape[1:]) // patch**2 + token
        positions = init.normal(f"{name}.positions", (1, tokens, width), STD)
        return Embedding(name, conv, positions, torch.zeros(1, 1, width) if token else None)

    def _block(self, init: Init, number: int, dropout: float) -> EncoderBlock:
        prefix, width = f"encoder.layers.encoder_layer_{number}", self.channels

        def norm(name: str) -> Layer:
            return NormLayer(f"{prefix}.{name}", init, width)

        def layer(name: str, inputs: int, outputs: int) -> Layer:
            return Layer(f"{prefix}.{name}", init.conv(f"{prefix}.{name}", inputs, outputs, 1))

        layers = [
            norm("ln_1"),
            layer("self_attention.in_proj", width, 3 * width),
            layer("self_attention.out_proj", width, width),
            norm("ln_2"),
            layer("mlp.0", width, MLP * width),
            layer("mlp.3", MLP * width, width),
        ]
        return EncoderBlock(layers, heads=self.heads, dropout=dropout)


def _patch(height: int, width: int) -> int:
    """Return the side of a patch for images of this size."""
    if max(height, width) > SMALL:
        return 16
    largest = -(-max(height, width) // PATCHES)
    both = math.gcd(height, width)
    return next(side for side in range(largest, 0, -1) if both % side == 0)
