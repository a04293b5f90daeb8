"""lfnn: leader-follower network with the output loss and local losses."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.rule import GradientRule, Grads, differentiate, trained
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.config import LeaderConfig, UnitConfig
from lbench_lfnn.network import UnitRule, couples


class Lfnn(UnitRule, GradientRule):
    """L = L_g + lambda1·L_lead + lambda2·L_fol (Yin et al. 2023, Section 2, LFNN).

    Leaders and the readout get the gradient of the output loss L_g, leaders that of their own
    cross-entropy too. Followers get no part of L_g: they move their prediction towards the best
    leader's. The local losses stop at the block's input. (A normalisation that mixes channels, as
    group norm does, mixes leaders' and followers' gradients too.)
    """

    class Config(UnitConfig):
        """Options of lfnn."""

        lambda1: float = param(1.0, low=0.0, high=100.0, help="Weight of the leader loss")
        lambda2: float = param(1.0, low=0.0, high=100.0, help="Weight of the follower loss")
        through_followers: bool = param(
            False, help="The output error passes through a block's followers to the blocks below"
        )

    config: Lfnn.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth="full",
            update_locked=True,
            global_error="vector",
            couples=couples(cast(LeaderConfig, config), network),
        )

    def build(self, init: Init) -> None:
        super().build(init)
        self.weights = (self.config.lambda1, self.config.lambda2)
        self._params = [
            trained(block, f"network.layers.{k}.") for k, block in enumerate(self.network.blocks)
        ]
        self._readout = trained(self.network.readout, "network.readout.")

    def gradients(self, batch: Batch, s: Step) -> Grads:
        """Walks up block by block, then down, with the leaders' mask on the error at each z."""
        inputs, scores, cut, hidden, outputs = [], [], [], [], []
        x = batch.x
        for k, block in enumerate(self.network.blocks):
            inputs.append(x)
            scores.append(block.scores(x, s))
            cut.append(scores[-1].detach().requires_grad_())
            hidden.append(self.activate(k, cut[-1]))
            outputs.append(block.emit(hidden[-1], s))
            x = outputs[-1].detach().requires_grad_()
        loss = self.task.loss(self.network.readout(x), batch.target)
        s.log("loss", loss.detach())
        *head, error = torch.autograd.grad(loss, [*self._readout.values(), x])
        grads: dict[str, Tensor] = dict(zip(self._readout, head, strict=True))
        for k in reversed(range(len(scores))):
            # Popped, so that a block's tensors are freed on the way down.
            z, x, affine = cut.pop(), inputs.pop(), scores.pop()
            (delta,) = torch.autograd.grad(outputs.pop(), z, error)
            local, leads = self._local(k, z.detach(), hidden.pop().detach(), batch.target, s)
            passed = delta if self.config.through_followers else delta * leads
            below = k > 0
            own = torch.addcmul(local, delta, leads)
            grads |= differentiate(affine, self._params[k], own, keep=below)
            if below:
                (error,) = torch.autograd.grad(affine, x, passed)
        return grads

    def _local(
        self, k: int, z: Tensor, h: Tensor, target: Tensor, s: Step
    ) -> tuple[Tensor, Tensor]:
        """The local losses' gradient at z, and the leaders' mask in the shape of z."""
        workers = self.workers[k]
        predictions = workers.predict(z, h)
        choice = self.selection(k).choose(predictions.y, target, s)
        error = workers.error(predictions, target, choice, self.weights)
        local = workers.pull(error, predictions, z, h)
        mask = choice.leads[:, None].expand(-1, workers.classes, -1)
        return local, workers.spread(mask, z)
