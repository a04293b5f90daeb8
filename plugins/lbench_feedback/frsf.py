"""frsf: feedback weights with the signs of the weights and fixed random magnitudes."""

from __future__ import annotations

from torch import nn

from lbench.init import Init
from lbench_feedback.feedback import Feedback, SignedFeedback, bound
from lbench_feedback.usf import Usf


class Frsf(Usf):
    """usf with B = |M| sign(W), where M is drawn once from the initial distribution of W.

    frSF of Liao, Leibo & Poggio 2016 (arXiv:1510.05067).
    """

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        m = init.uniform(f"feedback/{name}", affine.weight.shape, bound(affine))
        return SignedFeedback(m.abs_())
