"""Base classes of leader-follower rules: blocks of workers, their leaders and their losses."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.rule import GradientRule, Grads, LocalRule, Rule, View, differentiate, trained
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_lfnn.acting import acting_options, leader_remedy, leaders_per_block
from lbench_lfnn.config import GlobalConfig, LeaderConfig, UnitConfig
from lbench_lfnn.pooled import PooledWorkers
from lbench_lfnn.selection import Selection, selections
from lbench_lfnn.workers import UnitWorkers, Workers, leaders


class LeaderFollowerRule(Rule):
    """A rule whose blocks consist of workers, with a selection of leaders for each block."""

    config: LeaderConfig
    workers: list[Workers]

    @classmethod
    def worker_counts(cls, config: RuleConfig, network: Network, task: Task) -> list[int]:
        """Return the number of workers of each block."""
        raise NotImplementedError

    @classmethod
    def per_block(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, list[int]]:
        counts = cls.worker_counts(config, network, task)
        return leaders_per_block(counts, cast(LeaderConfig, config))

    @classmethod
    def effective(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, Any]:
        counts = cls.worker_counts(config, network, task)
        return acting_options(counts, cast(LeaderConfig, config))

    @classmethod
    def remedy(cls, option: str, config: RuleConfig, network: Network, task: Task) -> str:
        counts = cls.worker_counts(config, network, task)
        return leader_remedy(option, counts, cast(LeaderConfig, config))

    def build(self, init: Init) -> None:
        """Create the selections; a subclass sets ``workers`` before it calls this."""
        self.selections = selections(self.workers)

    def activate(self, k: int, z: Tensor) -> Tensor:
        return self.workers[k].activate(self.network.blocks[k], z)

    def after_step(self, s: Step) -> None:
        for k in range(len(self.workers)):
            self.selection(k).after_step(s)

    def selection(self, k: int) -> Selection:
        """Return the selection that chooses the leaders of block ``k``."""
        return cast(Selection, self.selections[k])


class UnitRule(LeaderFollowerRule):
    """A leader-follower rule with workers whose units are logits."""

    config: UnitConfig

    @classmethod
    def worker_counts(cls, config: RuleConfig, network: Network, task: Task) -> list[int]:
        options = cast(UnitConfig, config)
        size = task.classes * options.units
        return [options.workers or block.width // size for block in network.blocks]

    @classmethod
    def effective(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, Any]:
        options = cast(UnitConfig, config)
        acting = super().effective(config, network, task)
        if all(block.convolutional for block in network.blocks):
            del acting["forward"]
        if options.workers:
            del acting["units"]
        return acting

    @classmethod
    def remedy(cls, option: str, config: RuleConfig, network: Network, task: Task) -> str:
        options = cast(UnitConfig, config)
        if option == "forward":
            return "It acts on fully connected blocks."
        if option == "units":
            return "Leave out workers, which replaces it."
        if options.workers is None and max(cls.worker_counts(config, network, task)) < 2:
            size = task.classes * options.units
            return (
                f"A worker takes {size:,} channels here, so a block of {5 * size:,} has five. Add "
                "--set workers=5, which pools groups of channels to the classes, or choose rule "
                "lfnn_l_rr or lfnn_l_head, or wider blocks."
            )
        return super().remedy(option, config, network, task)

    def build(self, init: Init) -> None:
        blocks, classes = self.network.blocks, self.task.classes
        if self.config.workers is None:
            self.workers = [UnitWorkers(block, classes, self.config) for block in blocks]
        else:
            if self.config.units > 1:
                raise UsageError(
                    "units and workers are two ways to divide a block into workers.",
                    "Leave out one of them.",
                )
            shapes = self.network.shapes(self.task.shape)
            pooled = [
                PooledWorkers(block, tuple(shapes[block.layers[-1].name]), classes, self.config)
                for block in blocks
            ]
            self.poolings = nn.ModuleList(workers.pooling for workers in pooled)
            self.workers = [*pooled]
        super().build(init)


class LocalLeaderRule(LeaderFollowerRule, LocalRule):
    """A rule whose blocks each minimise a weighted sum of their leader and follower losses."""

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
    """A rule in which leaders and the readout get the gradient of an output loss L_g.

    Followers get no gradient of L_g. The weighted local losses are added, and their gradients
    stop at the block's input.
    """

    config: GlobalConfig
    through_followers = False
    """Whether the output error passes through a block's followers to the blocks below."""

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth="full",
            update_locked=True,
            global_error="vector",
            couples=couples(cast(LeaderConfig, config), network, getattr(config, "workers", None)),
        )

    def build(self, init: Init) -> None:
        super().build(init)
        self.weights = (self.config.lambda1, self.config.lambda2)
        self._params = [
            trained(block, f"network.blocks.{k}.") for k, block in enumerate(self.network.blocks)
        ]
        self._readout = trained(self.network.readout, "network.readout.")

    def output_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return L_g for the readout's logits (batch, classes), a scalar."""
        return self.task.loss(logits, target)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        """Return the gradients: a forward pass, then a backward pass masked at each block's z."""
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
            # The lists are popped, so that a block's tensors are freed during the backward pass.
            z, x, preactivation = cut.pop(), inputs.pop(), preactivations.pop()
            (delta,) = torch.autograd.grad(outputs.pop(), z, grad)
            local_grad, leads = self._local(k, z.detach(), hidden.pop().detach(), batch.target, s)
            below = k > 0
            z_grad = torch.addcmul(local_grad, delta, leads)
            grads |= differentiate(preactivation, self._params[k], z_grad, keep=below)
            if below:
                sent_grad = delta if self.through_followers else delta * leads
                (grad,) = torch.autograd.grad(preactivation, x, sent_grad)
        return grads

    def _local(
        self, k: int, z: Tensor, h: Tensor, target: Tensor, s: Step
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the local losses at z, and the mask of leaders' units."""
        workers = self.workers[k]
        predictions = workers.predict(z, h)
        choice = self.selection(k).choose(predictions.y, target, s)
        grad = workers.logits_grad(predictions, target, choice, self.weights)
        return workers.pull(grad, predictions, z, h), workers.mask(choice, z)


def couples(
    config: LeaderConfig, network: Network, count: int | None = None
) -> Literal["none", "mean"]:
    """Return how a rule couples the examples of a batch, for its claims.

    Workers are compared by mean losses over the batch, unless leaders are chosen per example.
    Randomly drawn leaders are compared only if followers copy the best of them. If all workers
    lead, none are compared.

    Args:
        config: options of the choice of leaders.
        network: the network, which may couple examples itself.
        count: the number of a block's workers, if the options give it.
    """
    all_lead = config.leadership == 1 or (count is not None and leaders(count, config) == count)
    compared = config.selection != "random" or config.reference == "best"
    if all_lead or not compared or config.selection == "example":
        return network.couples
    return "mean"
