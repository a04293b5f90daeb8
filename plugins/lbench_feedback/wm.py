"""wm: weight mirrors, feedback weights that learn the weights from noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.network import Network
from lbench.step import Step
from lbench_feedback.fa import Fa


class Wm(Fa):
    """fa whose B follows the correlation between a noise input of an affine map and its output.

    After every step, with xi ~ N(0, I) and the mean over ``samples`` draws,
    B <- (1 - decay) B + rate mean(W xi xi^T). Since E[xi xi^T] = 1, B tends to (rate / decay) W
    (Akrout et al. 2019, arXiv:1904.05391). A convolution is mirrored at one position, as the
    linear map of a patch. The bias, normalisation and activation are left out.

    No transposed weight is used, but W determines B, and B determines every update below. The
    audit measures whether weights reach an update, by whatever path, so it measures full
    transport, and the rule claims that.
    """

    class Config(RuleConfig):
        """Options of wm."""

        rate: float = param(0.01, low=1e-6, high=1.0, log=True, help="Factor on the correlation")
        decay: float = param(0.01, low=1e-6, high=1.0, log=True, help="Decay of B per step")
        samples: int = param(128, low=1, help="Draws of noise per step")

    config: Wm.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return replace(super().claims(config, network), transport="full", backward_depth="full")

    @torch.no_grad()
    def after_step(self, s: Step) -> None:
        rate, decay, samples = self.config.rate, self.config.decay, self.config.samples
        for name, affine in self.maps.items():
            weight, b = affine.weight.flatten(1), affine.feedback.weight
            noise = s.noise(f"mirror/{name}", (samples, weight.shape[1])).to(weight.dtype)
            correlation = F.linear(noise, weight).T @ noise
            b.mul_(1 - decay).add_(correlation.view_as(b).to(b.dtype), alpha=rate / samples)
