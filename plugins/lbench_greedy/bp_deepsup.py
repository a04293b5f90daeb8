"""bp_deepsup: the auxiliary classifiers of greedy training, backpropagated end to end."""

from __future__ import annotations

import torch

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.rule import GradientRule, Grads, differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_greedy.heads import HeadConfig, heads


class BpDeepSup(GradientRule):
    """The gradient of L + weight * sum_j CE(aux_j(h_j), t), with L the readout's loss.

    Deep supervision (Lee et al. 2015, arXiv:1409.5185, whose hidden losses are squared hinges).
    It is the control for ``lg_bp`` and ``dgl``, which have the same architecture but detach h_j.
    """

    class Config(HeadConfig):
        """Options of bp_deepsup."""

        weight: float = param(1.0, low=0.0, help="Factor on the sum of the blocks' losses; 0 is bp")

    config: BpDeepSup.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth="full",
            update_locked=True,
            global_error="vector",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        self.heads = heads(self.network, self.task, self.config, init)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        x, local = batch.x, []
        for k, block in enumerate(self.network.blocks):
            h = self.activate(k, block.preactivation(x, s))
            local.append(self.task.loss(self.heads[k](h), batch.target))
            x = block.emit(h, s)
        loss = self.task.loss(self.network.readout(x), batch.target)
        s.log("loss", loss.detach())
        return differentiate(loss + self.config.weight * torch.stack(local).sum(), self._trained)
