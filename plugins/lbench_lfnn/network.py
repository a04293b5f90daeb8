"""What leader-follower rules share: blocks of workers, who leads them, and the losses."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.network import Network
from lbench.rule import GradientRule, Grads, LocalRule, Rule, View, differentiate, trained
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.config import GlobalConfig, LeaderConfig, UnitConfig
from lbench_lfnn.selection import Selection, selections
from lbench_lfnn.workers import UnitWorkers, Workers, leaders


class LeaderFollowerRule(Rule):
    """Passes on what the workers of every block emit, and remembers who led."""

    config: LeaderConfig
    workers: list[Workers]

    def build(self, init: Init) -> None:
        """A subclass forms ``workers`` first."""
        self.selections = selections(self.workers)

    def activate(self, k: int, z: Tensor) -> Tensor:
        return self.workers[k].activate(self.network.blocks[k], z)

    def after_step(self, s: Step) -> None:
        for k in range(len(self.workers)):
            self.selection(k).after_step(s)

    def selection(self, k: int) -> Selection:
        """Chooses the leaders of block ``k``."""
        return cast(Selection, self.selections[k])


class UnitRule(LeaderFollowerRule):
    """Forms workers whose units are logits."""

    config: UnitConfig
    workers: list[UnitWorkers]  # type: ignore[assignment]

    def build(self, init: Init) -> None:
        blocks = self.network.blocks
        self.workers = [UnitWorkers(block, self.task.classes, self.config) for block in blocks]
        super().build(init)


class LocalLeaderRule(LeaderFollowerRule, LocalRule):
    """A block minimises a weighted sum of its leader and follower losses."""

    weights: tuple[float, float]

    def cotangent(self, v: View, s: Step) -> Tensor:
        workers = self.workers[v.k]
        predictions = workers.predict(v.z, v.h)
        choice = self.selection(v.k).choose(predictions.y, v.target, s)
        grad = workers.logits_grad(predictions, v.target, choice, self.weights)
        return workers.pull(grad, predictions, v.z, v.h)

    def loss(self, v: View, s: Step) -> Tensor:
        workers = self.workers[v.k]
        predictions = workers.predict(v.z, v.h)
        choice = self.selection(v.k).choose(predictions.y.detach(), v.target, s)
        return workers.loss(predictions.logits, v.target, choice, self.weights)


class GlobalLeaderRule(LeaderFollowerRule, GradientRule):
    """Leaders and the readout get the gradient of an output loss L_g; followers get none.

    The local losses are added with their weights, and stop at the block's input.
    """

    config: GlobalConfig
    through_followers = False
    """The output error passes through a block's followers to the blocks below."""

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
            trained(block, f"network.blocks.{k}.") for k, block in enumerate(self.network.blocks)
        ]
        self._readout = trained(self.network.readout, "network.readout.")

    def output_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """L_g of the readout's logits (batch, classes), a scalar."""
        return self.task.loss(logits, target)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        """Walks up block by block, then down, with the leaders' mask on the gradient at each z."""
        inputs, preactivations, cut, hidden, outputs = [], [], [], [], []
        x = batch.x
        for k, block in enumerate(self.network.blocks):
            inputs.append(x)
            preactivations.append(block.preactivation(x, s))
            cut.append(preactivations[-1].detach().requires_grad_())
            hidden.append(self.activate(k, cut[-1]))
            outputs.append(block.emit(hidden[-1], s))
            x = outputs[-1].detach().requires_grad_()
        loss = self.output_loss(self.network.readout(x), batch.target)
        s.log("loss", loss.detach())
        *head, grad = torch.autograd.grad(loss, [*self._readout.values(), x])
        grads: dict[str, Tensor] = dict(zip(self._readout, head, strict=True))
        for k in reversed(range(len(preactivations))):
            # Popped, so that a block's tensors are freed on the way down.
            z, x, affine = cut.pop(), inputs.pop(), preactivations.pop()
            (delta,) = torch.autograd.grad(outputs.pop(), z, grad)
            local, leads = self._local(k, z.detach(), hidden.pop().detach(), batch.target, s)
            passed = delta if self.through_followers else delta * leads
            below = k > 0
            own = torch.addcmul(local, delta, leads)
            grads |= differentiate(affine, self._params[k], own, keep=below)
            if below:
                (grad,) = torch.autograd.grad(affine, x, passed)
        return grads

    def _local(
        self, k: int, z: Tensor, h: Tensor, target: Tensor, s: Step
    ) -> tuple[Tensor, Tensor]:
        """The local losses' gradient at z, and the leaders' mask in the shape of z."""
        workers = self.workers[k]
        predictions = workers.predict(z, h)
        choice = self.selection(k).choose(predictions.y, target, s)
        grad = workers.logits_grad(predictions, target, choice, self.weights)
        return workers.pull(grad, predictions, z, h), workers.mask(choice, z)


def couples(
    config: LeaderConfig, network: Network, count: int | None = None
) -> Literal["none", "mean"]:
    """Workers are compared by means over the batch, unless leaders are chosen an example.

    Leaders that are drawn are compared only where followers copy the best of them, and nobody is
    where everybody leads.

    Args:
        count: of a block's workers, where the options tell.
    """
    everybody = config.leadership == 1 or (count is not None and leaders(count, config) == count)
    compared = config.selection != "random" or config.reference == "best"
    if everybody or not compared or config.selection == "example":
        return network.couples
    return "mean"
