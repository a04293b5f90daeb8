"""brsf: feedback weights with the signs of the weights and random magnitudes of each batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbench.init import Init
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.feedback import Feedback, SignedFeedback, bound
from lbench_feedback.usf import Usf


class Brsf(Usf):
    """usf with B = |M| sign(W), where M is drawn from the initial distribution of W in every step.

    brSF of Liao, Leibo & Poggio 2016 (arXiv:1510.05067). All examples of a batch share M.
    """

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        # The first step replaces these zeros.
        return SignedFeedback(torch.zeros_like(affine.weight.detach()), saved=False)

    def loss(self, batch: Batch, s: Step) -> Tensor:
        for name, affine in self.maps.items():
            m = affine.feedback.weight
            # This is |M| for M uniform between -bound and bound.
            m.copy_(s.noise(f"feedback/{name}", m.shape, "uniform").mul_(bound(affine)))
        return super().loss(batch, s)
