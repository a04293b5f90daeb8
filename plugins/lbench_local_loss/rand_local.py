"""rand_local: each block learns to be classified by a fixed random linear readout."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import RuleConfig
from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import LocalLoss
from lbench_local_loss.readouts import ReadoutConfig, Readouts, Slope


class RandLocal(LocalLoss):
    """Each block minimises the cross-entropy of logits A h, where A is random and never trained.

    Mostafa, Ramesh & Cauwenberghs 2018, arXiv:1711.06756. With p = softmax(scale · A f(h)) and
    batch size B, the gradient at the logits is (p − e_t)/B. It reaches the block through Aᵀ, which
    is fixed, so a block of one layer needs no transport of trained weights.
    """

    class Config(ReadoutConfig):
        """Options of rand_local."""

    config: RandLocal.Config

    @classmethod
    def carries(cls, config: RuleConfig) -> int:
        return 0

    def build(self, init: Init) -> None:
        self.slopes = [Slope(block) for block in self.network.blocks]
        self.readouts = nn.ModuleList(
            Readouts(init, name, shape, self.task.classes, self.config)
            for name, shape in self.shapes()
        )

    def loss(self, v: View, s: Step) -> Tensor:
        return F.cross_entropy(self.readouts[v.k](v.h).squeeze(2), v.target)

    def cotangent(self, v: View, s: Step) -> Tensor:
        readout = cast(Readouts, self.readouts[v.k])
        _, output_error = self.task.output_error(readout(v.h).squeeze(2), v.target)
        h_grad = readout.pull(output_error.unsqueeze(2), v.h)
        return self.slopes[v.k].pull(h_grad, v.z, v.h)
