"""pred_bio: each block predicts a random code of the label, with fixed feedback weights."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_feedback.feedback import Feedback, FeedbackLinear
from lbench_local_loss.codes import CodedLoss
from lbench_local_loss.heads import PredictionHead
from lbench_local_loss.pred import Pred


class PredBio(Pred, CodedLoss):
    """Each block minimises the binary cross-entropy of a linear decoder of its pooled h.

    The targets are the 128 bits 1[Q e_t > 0]. The decoder starts at 0 and learns with its block.
    Its error reaches the block through fixed random weights instead of its own. This is the
    variant without weight transport of Nøkland & Eidnes 2019 (arXiv:1901.06656), as in its code.
    """

    class Config(Pred.Config):
        """Options of pred_bio."""

    config: PredBio.Config

    def predictor(self, init: Init, name: str, shape: tuple[int, ...]) -> PredictionHead:
        head = PredictionHead(init, name, shape, self.bits, self.config.features)
        nn.init.zeros_(head.linear.bias)
        inputs = head.linear.in_features
        fixed = init.uniform(f"feedback/{name}", (self.bits, inputs), 1 / math.sqrt(inputs))
        head.linear = FeedbackLinear(head.linear, Feedback(fixed))
        return head

    def loss(self, v: View, s: Step) -> Tensor:
        logits = self.predictors[v.k](v.h)
        bits = (self.codes[v.k][v.target] > 0).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, bits)
