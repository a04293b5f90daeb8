"""pred: each block learns to predict labels through its own linear classifier."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import LocalLoss
from lbench_local_loss.heads import PredictionHead


class Pred(LocalLoss):
    """Each block minimises L_pred, the cross-entropy of a linear classifier of its pooled h.

    The classifier starts at 0 and learns with its block (Nøkland & Eidnes 2019, arXiv:1901.06656,
    Section 2, and its code where the text is silent).
    """

    class Config(RuleConfig):
        """Options of pred."""

        features: int = param(
            4096, low=1, help="Largest number of inputs of a head; larger feature maps are pooled"
        )

    config: Pred.Config

    def build(self, init: Init) -> None:
        super().build(init)
        self.predictors = nn.ModuleList(
            self.predictor(init, name, shape) for name, shape in self.shapes()
        )

    def predictor(self, init: Init, name: str, shape: tuple[int, ...]) -> PredictionHead:
        """Return the head of a block, whose h has ``shape`` for one example."""
        return PredictionHead(init, name, shape, self.task.classes, self.config.features)

    def loss(self, v: View, s: Step) -> Tensor:
        return F.cross_entropy(self.predictors[v.k](v.h), v.target)
