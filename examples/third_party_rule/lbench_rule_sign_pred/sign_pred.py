"""sign_pred: local classifiers whose error passes back through the signs of their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench import Claims, Init, LocalRule, Network, RuleConfig, Step, View, param, spatial_mean


class SignPred(LocalRule):
    """Each block learns from a linear classifier whose error passes back through weight signs.

    h with ``width`` features is the block's activation of its detached input, averaged over
    positions; t are labels of C classes, one-hot q. With means over the batch throughout:

        e = softmax(W h + b) − q              (1)
        ΔW ∝ −e hᵀ, Δb ∝ −e                   (2)  the classifier's exact gradient
        δh = (M ⊙ sign(W))ᵀ e / √width        (3)  the block's error, instead of Wᵀ e

    M is 1, except for a share ``wrong`` of its entries, drawn once, which are −1. 1/√width is the
    bound of W's initial values. Inside a block of several layers the error is backpropagated
    exactly.

    Feedback by signs is from Liao, Leibo & Poggio (2016, arXiv:1510.05067), who use it throughout
    a network under one output loss; here there is no error from other blocks.
    """

    class Config(RuleConfig):
        """Options of sign_pred."""

        wrong: float = param(
            0.0, low=0.0, high=0.5, help="Share of the feedback's signs that are reversed"
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
        # The value is the classifier's; its weights get the gradient of h, h that of the signs.
        logits = head(h.detach()) + (signs - signs.detach())
        return self.task.loss(logits, v.target)

    def feedback(self, k: int) -> Tensor:
        """Return the matrix in place of W in (3), (classes, width)."""
        weight = self.heads[k].weight.detach()
        signs = weight.sign() / weight.shape[1] ** 0.5
        return self.masks[k] * signs if self.config.wrong else signs
