"""cwc: a block's channels are split among the classes, whose goodness values compete."""

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
    """Channel-wise competitive learning: each block maximises the activity of the label's channels.

    The channels or units of a block are split into one group per class. The goodness of a class
    is the mean square of its group's activities, over positions too, and the block minimises the
    cross-entropy of the softmax over these goodness values (Papachristodoulou et al. 2024,
    arXiv:2312.12668). There are no negative examples.
    """

    class Config(RuleConfig):
        """Options of cwc."""

        predict: Literal["readout", "goodness"] = param(
            "readout", help="Predict by a linear readout, or by the goodness of the last block"
        )
        schedule: Literal["together", "staggered"] = param(
            "together", help="staggered: each block stops learning before the block above it"
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
        """Return a higher learning rate: large activities are needed to separate the classes."""
        return default.model_copy(update={"lr": 3e-3})

    def build(self, init: Init) -> None:
        for k, block in enumerate(self.network.blocks):
            if block.width < self.task.classes:
                raise UsageError(
                    f"Rule cwc needs at least one channel per class, but block {block.name!r} "
                    f"has {block.width} for {self.task.classes} classes.",
                    f"Choose widths of {self.task.classes} or more.",
                )
            self.register_buffer(f"members{k}", members(block.width, self.task.classes), False)
        if self.config.predict == "goodness":
            self.network.readout = nn.Identity()  # type: ignore[assignment]

    def phases(self) -> list[Phase]:
        """Return one phase, or if staggered one per block, in which one block fewer is trained."""
        if self.config.schedule == "together":
            return super().phases()
        names = [group.name for group in self.groups() if group.params]
        return [Phase(name, groups=frozenset(names[k:])) for k, name in enumerate(names)]

    def goodness(self, k: int, h: Tensor) -> Tensor:
        """Return the goodness of each class, from h (batch, channels, …) to (batch, classes)."""
        wide = torch.promote_types(h.dtype, torch.float32)
        classes: Tensor = getattr(self, f"members{k}").to(wide)
        with torch.autocast(h.device.type, enabled=False):
            return spatial_mean(h.to(wide).square()) @ classes / classes.sum(0)

    def loss(self, v: View, s: Step) -> Tensor:
        loss = self.task.loss(self.goodness(v.k, v.h), v.target)
        s.log("loss", loss.detach())  # the readout's loss replaces this one
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
    """Return the one-hot class of each channel, (width, classes); each class's are contiguous."""
    return F.one_hot(torch.arange(width) * classes // width, classes).float()
