"""mixer: LocalMixer, the networks of Ren et al. 2023, with local normalisation and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from lbench.config import param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout
from lbench.networks.norm import LocalNorm
from lbench.networks.spec import NetworkSpec
from lbench.step import Step


class TokenLayer(Layer):
    """A linear map over the positions, the same for every channel."""

    def transform(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        z: Tensor = self.affine(x.flatten(2))
        return z.view_as(x)


class Mixer(Block):
    """Layers one behind the other, with an optional shortcut from the input to the last.

    Args:
        layers: the layers, in the order in which they act.
        shortcut: whether the block's input is added before the last activation.
        dropout: share of emitted activations set to 0 in training.
    """

    def __init__(self, layers: list[Layer], *, shortcut: bool, dropout: float = 0.0) -> None:
        *inner, last = layers
        super().__init__(last, dropout=dropout)
        self.inner = nn.ModuleList(inner)
        self.shortcut = shortcut

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, in the order in which they act."""
        return [*cast("list[Layer]", list(self.inner)), self.layer]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the last layer's z, which includes the shortcut."""
        h = x
        for layer in self.inner:
            h = self.activate(layer(h))
        z: Tensor = self.layer(h, x if self.shortcut else None)
        return z


class LocalMixer(NetworkSpec):
    """Blocks that mix tokens, then channels, then channels within groups.

    The first block embeds the patches instead of mixing tokens, and has no shortcut. Local layer
    normalisation and ReLU follow each map (arXiv:2210.03310, Section 5). Tokens are arranged as
    images: (batch, channels, patches, patches).
    """

    small: ClassVar[Mapping[str, Any]] = {"patches": 3, "channels": 72, "groups": 2, "depth": 2}

    patches: int = param(1, low=1, help="Patches along each side of the image; each is a token")
    channels: int = param(256, low=1, help="Channels of a token")
    groups: int = param(1, low=1, help="Groups of channels of a block's last map")
    depth: int = param(1, low=1, help="Blocks")
    norm: bool = param(True, help="Local layer normalisation behind each map")

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """Return layers ``patch``, ``group1``, ``token2``, ``fc2``, ``group2``, … and a readout."""
        inputs, height, width = shape
        if height != width or height % self.patches:
            raise UsageError(
                f"Network mixer cannot cut images of {height}x{width} into "
                f"{self.patches}x{self.patches} square patches.",
                "Give it square images and a number of patches that divides their side.",
            )
        if self.channels % self.groups:
            raise UsageError(
                f"Network mixer cannot form {self.groups} groups of {self.channels} channels.",
                "Give it a number of groups that divides the number of channels.",
            )
        side, tokens, channels = height // self.patches, self.patches**2, self.channels

        def dense(name: str, kernel: int = 1, inputs: int = channels, groups: int = 1) -> Layer:
            conv = init.conv(
                name, inputs, channels, kernel, stride=kernel, padding=0, groups=groups
            )
            return Layer(name, conv, self._norm(groups))

        def grouped(number: int) -> Layer:
            return dense(f"group{number}", groups=self.groups)

        patch = dense("patch", side, inputs)
        blocks: list[Block] = [Mixer([patch, grouped(1)], shortcut=False, dropout=dropout)]
        for number in range(2, self.depth + 1):
            mix = f"token{number}"
            token = TokenLayer(mix, init.linear(mix, tokens, tokens), self._norm(1))
            layers = [token, dense(f"fc{number}"), grouped(number)]
            blocks.append(Mixer(layers, shortcut=True, dropout=dropout))
        return Network(blocks, Readout(init.linear("readout", channels, classes)))

    def _norm(self, groups: int) -> nn.Module | None:
        return LocalNorm(groups) if self.norm else None
