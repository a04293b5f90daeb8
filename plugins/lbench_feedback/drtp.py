"""drtp: direct random target projection, which sends the label straight to every layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.layer import cut
from lbench.network import Network
from lbench.rule import LocalRule, differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.direct import Direct


class Drtp(Direct, LocalRule):
    """Each layer receives the one-hot label e_t, not an error, through its own fixed random B.

    delta_l = (B_l e_t) * phi'(z_l) (Frenkel, Lefebvre & Bol 2019, arXiv:1909.01311), so a layer
    learns as soon as it has run. The sign does not matter, since B and -B have the same
    distribution. The readout learns by the delta rule, from the exact gradient of the loss.
    """

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="none",
            backward_depth=0,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        block, group = self.network.blocks[k], f"block{k}"
        with cut(block.layers) as passed:
            z = block.preactivation(x, s)
        with torch.no_grad():
            emitted = block.emit(self.activate(k, z), s)
        label = F.one_hot(batch.target, self.task.classes).to(batch.x.dtype) / len(x)
        deltas = [self.delta(layer, output, label) for layer, output in passed]
        outputs = [output for _, output in passed]
        self.update(group, differentiate(outputs, self._groups[group], deltas))
        return emitted
