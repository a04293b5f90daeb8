"""brsf: random magnitudes of each batch with the signs of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbench.init import Init
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.feedback import Feedback, Signed, bound
from lbench_feedback.usf import Usf


class Brsf(Usf):
    """usf with B = |M| sign(W), M drawn anew by the law of W in every step.

    brSF of Liao, Leibo & Poggio 2016 (arXiv:1510.05067). M is one for the whole batch.
    """

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        return Signed(torch.zeros_like(affine.weight.detach()), kept=False)  # until a step draws

    def loss(self, batch: Batch, s: Step) -> Tensor:
        for name, affine in self.maps.items():
            m = affine.feedback.weight
            # |M| of an M uniform between -bound and bound.
            m.copy_(s.noise(f"feedback/{name}", m.shape, "uniform").mul_(bound(affine)))
        return super().loss(batch, s)
