"""lg_fg_a: forward gradient of each block's local loss with activity perturbation."""

from __future__ import annotations

from torch import Tensor

from lbench.init import Init
from lbench.layer import tapped
from lbench.rule import differentiate
from lbench.step import Step
from lbench_forward_gradient.bases import Estimate, LocalForwardGradient
from lbench_forward_gradient.contraction import reaches
from lbench_forward_gradient.fg_a import ActivityConfig
from lbench_forward_gradient.perturbation import Perturbation, check, forward_mode, split


class LgFgA(LocalForwardGradient):
    """Noise at every z, times the directional derivative of the local losses that it can change.

    A linear head on the spatial mean of a block's h gives the local loss, and the gradient of the
    loss at h in closed form. That gradient times the tangent of h, summed separately for each
    example, position and group of channels, is the directional derivative of the replicated
    losses of Ren et al. 2023 (arXiv:2210.03310), Section 4.
    """

    class Config(ActivityConfig):
        """Options of lg_fg_a."""

    config: LgFgA.Config

    def build(self, init: Init) -> None:
        check("lg_fg_a", self.network)
        super().build(init)
        passes = self.network.passes(self.task.shape)
        self.reaches = [reaches(block, passes) for block in self.network.blocks]

    def estimate(self, k: int, x: Tensor, target: Tensor, s: Step, draw: int) -> Estimate:
        block = self.network.blocks[k]
        noise = Perturbation(s, block.activate, mask=self.config.mask, draw=draw)
        with forward_mode(), tapped(block.layers, noise):
            h, tangent = split(self.activate(k, block.preactivation(x, s)))
        assert tangent is not None
        logits, output_error, products = self.replicated(k, h, tangent, target)
        # Summed over the channels of a group, the products are a_{b,p,g} of the paper.
        cotangents = [
            reach.contract(products, layer.u)
            for reach, layer in zip(self.reaches[k], noise.layers, strict=True)
        ]
        # The graph is cut behind every z, and in front of the head.
        outputs = [logits, *(layer.z for layer in noise.layers)]
        params = self._groups[f"block{k}"]
        return Estimate(h, differentiate(outputs, params, [output_error, *cotangents]))
