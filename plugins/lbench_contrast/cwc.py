"""cwc: a block's channels are split among the classes, whose goodness compete."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network, spatial_mean
from lbench.recipe import Recipe
from lbench.rule import LocalRule, View
from lbench.step import Phase, Step


class Cwc(LocalRule):
    """Each block's channels of the label's class shall be the most active; there are no negatives.

    A block's channels, or units, are cut into one group a class. The goodness of a class is the
    mean square of its group's activities, over positions too, and the block minimises the
    cross-entropy of the softmax over these goodness (Papachristodoulou et al. 2024,
    arXiv:2312.12668: channel-wise competitive learning).
    """

    class Config(RuleConfig):
        """Options of cwc."""

        predict: Literal["readout", "goodness"] = param(
            "readout", help="By a linear readout, or by the goodness of the last block"
        )
        schedule: Literal["together", "staggered"] = param(
            "together", help="Staggered: a block stops before the one above it does"
        )

    config: Cwc.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        depth = network.block_depth - 1
        return Claims(
            transport="full" if depth else "none",
            backward_depth=depth,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """A higher learning rate: goodness that tell classes apart need large activities."""
        return default.model_copy(update={"lr": 3e-3})

    def build(self, init: Init) -> None:
        for k, block in enumerate(self.network.blocks):
            if block.width < self.task.classes:
                raise UsageError(
                    f"Rule cwc gives every class channels of its own, but block {block.name!r} "
                    f"has {block.width} for {self.task.classes} classes.",
                    f"Widths of {self.task.classes} or more fit.",
                )
            self.register_buffer(f"members{k}", members(block.width, self.task.classes), False)
        if self.config.predict == "goodness":
            self.network.readout = nn.Identity()  # type: ignore[assignment]

    def phases(self) -> list[Phase]:
        """Staggered: as many equal parts as blocks, and one fewer block trains in each."""
        if self.config.schedule == "together":
            return super().phases()
        names = [group.name for group in self.groups() if group.params]
        return [Phase(name, groups=frozenset(names[k:])) for k, name in enumerate(names)]

    def goodness(self, k: int, h: Tensor) -> Tensor:
        """Of each class in block ``k``, (batch, channels, …) to (batch, classes)."""
        wide = torch.promote_types(h.dtype, torch.float32)
        of: Tensor = getattr(self, f"members{k}").to(wide)
        with torch.autocast(h.device.type, enabled=False):
            return spatial_mean(h.to(wide).square()) @ of / of.sum(0)

    def loss(self, v: View, s: Step) -> Tensor:
        loss = self.task.loss(self.goodness(v.k, v.h), v.target)
        s.log("loss", loss.detach())  # where the readout runs, its loss replaces this one
        return loss

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        if self.config.predict == "readout":
            super().train_readout(x, target, s)

    def predict(self, x: Tensor) -> Tensor:
        if self.config.predict == "readout":
            return super().predict(x)
        *below, last = self.network.blocks
        for k, block in enumerate(below):
            x = block.emit(self.activate(k, block.preactivation(x)))
        return self.goodness(len(below), self.activate(len(below), last.preactivation(x)))


def members(width: int, classes: int) -> Tensor:
    """1 where a channel is its class's, (width, classes); a class's channels lie side by side."""
    return F.one_hot(torch.arange(width) * classes // width, classes).float()
