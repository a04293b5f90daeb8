"""fg_a: forward gradient with activity perturbation."""

from __future__ import annotations

from lbench.config import param
from lbench.init import Init
from lbench.layer import tapped
from lbench.rule import differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_forward_gradient.bases import Estimate, ForwardGradient, ForwardGradientConfig
from lbench_forward_gradient.perturbation import (
    Perturbation,
    by_example,
    check,
    forward_mode,
    split,
)


class ActivityConfig(ForwardGradientConfig):
    """Options of noise at every preactivation."""

    mask: bool = param(
        True, help="No noise at units whose activation has slope 0, for less variance"
    )


class FgA(ForwardGradient):
    """Noise at every z, times the directional derivative of the loss along the noise.

    One forward pass carries values and tangents (Ren et al. 2023, arXiv:2210.03310, Section 3).
    With u the noise at z and D_b = <dL_b/dz, u_b> summed over all layers, one number per example,
    D_b u_b is an unbiased estimate of dL_b/dz.
    """

    class Config(ActivityConfig):
        """Options of fg_a."""

    config: FgA.Config

    def build(self, init: Init) -> None:
        check("fg_a", self.network)

    def estimate(self, batch: Batch, s: Step, draw: int) -> Estimate:
        noisy = []
        x = batch.x
        with forward_mode():
            for block in self.network.blocks:
                noise = Perturbation(s, block.activate, mask=self.config.mask, draw=draw)
                with tapped(block.layers, noise):
                    x = block(x, s)
                noisy += noise.layers
            logits, tangent = split(self.network.readout(x))
        assert tangent is not None
        loss, output_error = self.task.output_error(logits, batch.target)
        slope = (output_error * tangent.detach()).sum(1)  # D_b / B
        # The graph is cut behind every z, so each cotangent reaches its own layer only.
        outputs = [logits, *(layer.z for layer in noisy)]
        cotangents = [output_error, *(by_example(slope, layer.u) for layer in noisy)]
        return Estimate(loss, differentiate(outputs, self._trained, cotangents))
