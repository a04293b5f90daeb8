"""sign_pred: local classifiers whose error comes back by the signs of their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench import Claims, Init, LocalRule, Network, RuleConfig, Step, View, param, spatial_mean


class SignPred(LocalRule):
    """A block learns from a linear classifier of its own that sends back signs for weights.

    With h of ``width`` features what the block makes of its detached input, averaged over
    positions, labels t of C classes, one-hot q, and means over the batch throughout:

        e = softmax(W h + b) − q              (1)
        ΔW ∝ −e hᵀ, Δb ∝ −e                   (2)  the classifier's exact gradient
        δh = (M ⊙ sign(W))ᵀ e / √width        (3)  what the block gets in place of Wᵀ e

    M is 1 but for a share ``wrong`` of its entries, drawn once, which are −1. 1/√width is the
    bound of W's initial values. Inside a block of several layers the error goes on exactly.

    Feedback by signs is Liao, Leibo & Poggio's (2016, arXiv:1510.05067), who use it throughout a
    network under one output loss; here there is no error from other blocks.
    """

    class Config(RuleConfig):
        """Options of sign_pred."""

        wrong: float = param(
            0.0, low=0.0, high=0.5, help="Share of the feedback's signs that are turned around"
        )

    config: SignPred.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        layers = network.block_depth
        return Claims(
            transport="sign" if layers == 1 else "full",
            backward_depth=layers,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        self.heads, self.masks = nn.ModuleList(), nn.ParameterList()
        for k, block in enumerate(self.network.blocks):
            self.heads.append(init.linear(f"heads.{k}", block.width, self.task.classes))
            if self.config.wrong:
                draw = init.uniform(f"masks.{k}", (self.task.classes, block.width), 0.5) + 0.5
                mask = torch.where(draw < self.config.wrong, -1.0, 1.0)
                self.masks.append(nn.Parameter(mask, requires_grad=False))

    def loss(self, v: View, s: Step) -> Tensor:
        h, head = spatial_mean(v.h), self.heads[v.k]
        signs = F.linear(h, self.feedback(v.k))
        # The value is the classifier's; its weights see h alone, h sees the signs alone.
        logits = head(h.detach()) + (signs - signs.detach())
        return self.task.loss(logits, v.target)

    def feedback(self, k: int) -> Tensor:
        """What stands for W in (3), (classes, width)."""
        weight = self.heads[k].weight.detach()
        signs = weight.sign() / weight.shape[1] ** 0.5
        return self.masks[k] * signs if self.config.wrong else signs
