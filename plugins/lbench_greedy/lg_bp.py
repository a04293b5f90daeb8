"""lg_bp: each block has the exact gradient of its own auxiliary loss."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.rule import LocalRule, View
from lbench.step import Phase, Step


class LgBp(LocalRule):
    """A block and its auxiliary classifier minimise the task's loss on the block's detached input.

    All blocks at once (Ren et al. 2023, arXiv:2210.03310, LG-BP), or one after the other, each
    frozen before the next begins (Belilovsky et al. 2019, arXiv:1812.11446, Algorithm 1).
    """

    class Config(RuleConfig):
        """Options of lg_bp."""

        schedule: Literal["simultaneous", "sequential"] = param(
            "simultaneous", help="Blocks are trained at once, or each for its part of the budget"
        )
        head: Literal["linear", "mlp"] = param(
            "linear", help="Auxiliary classifier; mlp has a hidden layer as wide as the block"
        )
        pool: int = param(
            1, low=1, help="Side of the grid of means that a classifier sees of feature maps"
        )

    config: LgBp.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        head = 2 if cast(LgBp.Config, config).head == "mlp" else 1
        return Claims(
            transport="full",
            backward_depth=network.block_depth - 1 + head,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        shapes = self.network.shapes(self.task.shape)
        self.heads = nn.ModuleList(
            self._head(init, f"heads.{k}", shapes[block.sites[-1].name])
            for k, block in enumerate(self.network.blocks)
        )

    def _head(self, init: Init, name: str, shape: tuple[int, ...]) -> nn.Sequential:
        """A classifier of a block's h, of which one example has ``shape``."""
        width, *size = shape
        pool = Pool(*(min(self.config.pool, side) for side in size))
        inputs = width * pool.height * pool.width
        layers: list[nn.Module] = [pool]
        if self.config.head == "mlp":
            layers += [init.linear(f"{name}.hidden", inputs, width), nn.ReLU()]
            inputs = width
        return nn.Sequential(*layers, init.linear(name, inputs, self.task.classes))

    def phases(self) -> list[Phase]:
        """In sequence, a phase a block with equal shares.

        The readout, which is the last block's classifier in the paper, is trained beside that
        block: on detached features it changes nothing there, and needs no budget of its own.
        """
        if self.config.schedule == "simultaneous":
            return super().phases()
        names = [f"block{k}" for k in range(len(self.network.blocks))]
        trained = [{name} for name in names]
        trained[-1].add("readout")
        return [
            Phase(name, groups=frozenset(groups))
            for name, groups in zip(names, trained, strict=True)
        ]

    def loss(self, v: View, s: Step) -> Tensor:
        loss = self.task.loss(self.heads[v.k](v.h), v.target)
        s.log("loss", loss.detach())  # where the readout runs, its loss replaces this one
        return loss


class Pool(nn.Module):
    """Means over the cells of a grid on each feature map; features without positions stay."""

    def __init__(self, height: int = 1, width: int = 1) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, h: Tensor) -> Tensor:
        """(batch, channels, …) to (batch, channels * height * width)."""
        return h if h.dim() == 2 else F.adaptive_avg_pool2d(h, (self.height, self.width)).flatten(1)
