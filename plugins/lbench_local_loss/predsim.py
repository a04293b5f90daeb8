"""predsim: each block learns to predict labels and to match their similarity."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.rule import LocalRule, View
from lbench.step import Step
from lbench_local_loss.heads import Predictor, similarity_loss, similarity_map


class PredSim(LocalRule):
    """A block minimises (1 − beta)·L_pred + beta·L_sim through two heads of its own.

    With h the block's output before pooling and dropout (Nøkland & Eidnes 2019, arXiv:1901.06656,
    Section 2, and its code where the text is silent):

    - L_pred is the cross-entropy of a linear classifier of the average-pooled h;
    - L_sim is the mean squared distance between the similarities of T h and those of the one-hot
      labels, with T a linear map or a 3x3 convolution.

    Heads learn with their block. Blocks end in a leaky ReLU; within a block of several maps the
    network's own activation stays.
    """

    class Config(RuleConfig):
        """Options of predsim."""

        beta: float = param(0.99, low=0.0, high=1.0, help="Share of the similarity loss")
        features: int = param(
            4096, low=1, help="Most inputs of a predicting head; larger maps are pooled"
        )
        slope: float = param(
            0.01, low=0.0, high=1.0, help="Of a block's last activation below 0; 0 is ReLU"
        )

    config: PredSim.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth=network.block_depth,
            update_locked=False,
            global_error="none",
            couples="rows" if cast(PredSim.Config, config).beta else network.couples,
        )

    def build(self, init: Init) -> None:
        shapes, features = self.network.shapes(self.task.shape), self.config.features
        self.predictors, self.maps = nn.ModuleList(), nn.ModuleList()
        for block in self.network.blocks:
            name, shape = block.name, shapes[block.sites[-1].name]
            self.predictors.append(Predictor(init, name, shape, self.task.classes, features))
            self.maps.append(similarity_map(init, name, shape))

    def activate(self, k: int, z: Tensor) -> Tensor:
        return F.leaky_relu(z, self.config.slope)

    def loss(self, v: View, s: Step) -> Tensor:
        pred = F.cross_entropy(self.predictors[v.k](v.h), v.target)
        sim = similarity_loss(self.maps[v.k](v.h), v.target, self.task.classes, s)
        return torch.lerp(pred, sim, self.config.beta)
