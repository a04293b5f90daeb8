"""predsim: each block learns to predict labels and to match their similarity."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor

from lbench.config import RuleConfig, param
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import LocalLoss
from lbench_local_loss.pred import Pred
from lbench_local_loss.sim import Sim


class MixedLoss(LocalLoss):
    """Each block minimises (1 − beta)·L_pred + beta·L_sim through the heads of both."""

    components: ClassVar[tuple[type[LocalLoss], type[LocalLoss]]]
    """The rules of L_pred and L_sim, bases of this one."""

    class Config(RuleConfig):
        """Options of a mixture."""

        beta: float = param(0.99, low=0.0, high=1.0, help="Share of the similarity loss")

    config: MixedLoss.Config

    @classmethod
    def pairs(cls, config: RuleConfig) -> bool:
        return bool(cast(MixedLoss.Config, config).beta)

    def loss(self, v: View, s: Step) -> Tensor:
        pred, sim = self.components
        loss = cast(Tensor, pred.loss(self, v, s))
        if not self.config.beta:
            return loss  # without comparing pairs of examples
        return torch.lerp(loss, cast(Tensor, sim.loss(self, v, s)), self.config.beta)


class PredSim(MixedLoss, Sim, Pred):
    """Each block minimises (1 − beta)·L_pred + beta·L_sim through two heads of its own.

    With h the block's activation in front of pooling and dropout (Nøkland & Eidnes 2019,
    arXiv:1901.06656, Section 2, and its code where the text is silent):

    - L_pred is the cross-entropy of a linear classifier of the average-pooled h.
    - L_sim is the mean squared distance between the similarities of T h and those of the one-hot
      labels, where T is a linear map or a 3x3 convolution.

    Heads learn with their block. Blocks end in a leaky ReLU; inside a block of several layers the
    network's own activation stays.
    """

    components = (Pred, Sim)

    class Config(MixedLoss.Config, Sim.Config, Pred.Config):
        """Options of predsim."""

    config: PredSim.Config
