"""fg_w: forward gradient with weight perturbation."""

from __future__ import annotations

from torch import Tensor

from lbench.config import param
from lbench.rule import differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_forward_gradient.bases import Estimate, ForwardGradient, ForwardGradientConfig
from lbench_forward_gradient.perturbation import along, directions


class FgW(ForwardGradient):
    """Noise in every weight, times the directional derivative of the batch's loss along the noise.

    v ~ N(0, I) is drawn once per step for the parameters and shared by the batch. One forward
    pass gives D = <dL/dtheta, v>, and D v is an unbiased estimate of dL/dtheta (Baydin et al.
    2022, arXiv:2202.08587, Section 3). As in Ren et al. 2023 (arXiv:2210.03310), the readout is
    not perturbed and its gradient is exact; Baydin et al. perturb the readout too.
    """

    class Config(ForwardGradientConfig):
        """Options of fg_w."""

        perturb_readout: bool = param(
            False, help="Estimate the readout's gradient from noise too, instead of exactly"
        )

    config: FgW.Config

    def forward(self, x: Tensor, s: Step) -> Tensor:
        """Return the network's logits, whose tangent is taken."""
        logits: Tensor = self.network(x, s)
        return logits

    def estimate(self, batch: Batch, s: Step, draw: int) -> Estimate:
        whole = self.config.perturb_readout
        v = directions(self._trained if whole else self._groups["blocks"], s, draw)
        logits, tangent = along(self, v, draw, batch.x, s)
        assert tangent is not None
        loss, output_error = self.task.output_error(logits, batch.target)
        slope = (output_error * tangent.detach()).sum()  # D
        grads = {name: u.mul_(slope) for name, u in v.items()}
        if not whole:
            grads |= differentiate(logits, self._groups["readout"], output_error)
        return Estimate(loss, grads)
