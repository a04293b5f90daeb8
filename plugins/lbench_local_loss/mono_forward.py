"""mono_forward: each block learns class logits of its own, which are the prediction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import LocalLoss


class MonoForward(LocalLoss):
    """Each block minimises the cross-entropy of its goodness G = M h, with a trained matrix M.

    The predicted class has the largest goodness in the last block, or in the sum over all blocks
    (Gong, Li and Abdulla 2025, arXiv:2501.09238). There is no readout. Feature maps are flattened.
    """

    class Config(RuleConfig):
        """Options of mono_forward."""

        score: Literal["last", "sum"] = param(
            "last", help="Goodness used for prediction: the last block's, or the sum over blocks"
        )

    config: MonoForward.Config

    def build(self, init: Init) -> None:
        self.network.readout = nn.Identity()  # type: ignore[assignment]
        self.projections = nn.ModuleList(
            init.linear(f"goodness.{name}", shape.numel(), self.task.classes, bias=False)
            for name, shape in self.shapes()
        )

    def goodness(self, k: int, h: Tensor) -> Tensor:
        """Map h (batch, …) to the goodness of block ``k``, (batch, classes)."""
        logits: Tensor = self.projections[k](h.flatten(1))
        return logits

    def loss(self, v: View, s: Step) -> Tensor:
        loss = F.cross_entropy(self.goodness(v.k, v.h), v.target)
        s.log("loss", loss.detach())  # The last block's loss replaces the others.
        return loss

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        """Do nothing, since there is no readout."""

    def predict(self, x: Tensor) -> Tensor:
        logits = []
        for k, block in enumerate(self.network.blocks):
            h = self.activate(k, block.preactivation(x))
            if self.config.score == "sum" or k == len(self.network.blocks) - 1:
                logits.append(self.goodness(k, h))
            x = block.emit(h)
        return torch.stack(logits).sum(0)
