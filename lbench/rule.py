"""Rule: how parameters change given a batch. This is the page that a plugin's author reads.

Write a rule that trains block by block as a :class:`LocalRule`, one with a single loss or its own
gradients as a :class:`GradientRule`, and anything else as a :class:`Rule` with its own ``step``.
lbench owns data, optimizers, schedules, checkpoints and records; a rule holds the network and
its own auxiliary modules, so ``state_dict()`` is all that resuming needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.step import Phase, Step
from lbench.task import Batch, Task

Grads = Mapping[str, Tensor]
"""Gradients by the name of the parameter in the rule, such as ``network.blocks.0.layer…``."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are updated together.

    Args:
        name: what :meth:`Rule.update` and phases call it.
        params: by their name in the rule.
        lr: factor on the recipe's learning rate.
        weight_decay: factor on the recipe's weight decay.
    """

    name: str
    params: Mapping[str, nn.Parameter]
    lr: float = 1.0
    weight_decay: float = 1.0


@dataclass(slots=True)
class View:
    """What a block's local loss may look at.

    Args:
        k: index of the block.
        x0: the batch's input, (batch, channels, height, width).
        x: the block's input, detached.
        z: its values before the last activation.
        h: what the rule's ``activate`` made of them.
        target: labels, (batch,).
    """

    k: int
    x0: Tensor
    x: Tensor
    z: Tensor
    h: Tensor
    target: Tensor


class Rule(nn.Module):
    """Base of all rules. Everything but the update has a default.

    Args:
        network: the network to train.
        task: the problem that it is trained on.
        config: the rule's options.
        init: source of initial values, addressed by name.
    """

    Config: ClassVar[type[RuleConfig]] = RuleConfig
    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Checks of ``lbench check`` that the rule cannot pass, each with the reason."""

    def __init__(self, network: Network, task: Task, config: RuleConfig, init: Init) -> None:
        super().__init__()
        self.network = network
        self.network.input_shape = task.shape
        self.task = task
        self.config = config
        self.build(init)
        self._updates: Mapping[str, Callable[[Grads], None]] = {}

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        """What the rule claims of itself; may depend on options and network."""
        return Claims()

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """The rule's own recipe where it has one; ``default`` is the dataset's."""
        return default

    def build(self, init: Init) -> None:
        """Makes auxiliary modules and checks that the network fits.

        Raises:
            UsageError: the network does not fit; says which block, which number and what would.
        """

    def groups(self) -> list[Group]:
        """Parameters that are updated together: by default one group a block, and ``readout``.

        A block's group has its auxiliary modules too: the entry of every ``ModuleList`` of the
        rule that has one entry a block.
        """
        blocks = self.network.blocks
        lists = {
            name: child
            for name, child in self.named_children()
            if isinstance(child, nn.ModuleList) and len(child) == len(blocks)
        }
        groups = []
        for k, block in enumerate(blocks):
            params = trained(block, f"network.blocks.{k}.")
            for name, entries in lists.items():
                params |= trained(entries[k], f"{name}.{k}.")
            groups.append(Group(f"block{k}", params))
        return [*groups, Group("readout", trained(self.network.readout, "network.readout."))]

    def phases(self) -> list[Phase]:
        """Parts of the budget with what each trains; each has its own schedule."""
        return [Phase()]

    def prepare(self, batch: Batch, s: Step) -> Batch:
        """The batch as the rule wants to see it: label overlays, negatives."""
        return batch

    def step(self, batch: Batch, s: Step) -> None:
        """One training step: hands gradients to :meth:`update`, measurements to ``s.log``."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def after_step(self, s: Step) -> None:
        """The only place where the rule's own state changes; ``s.logs`` is what the step logged."""

    def activate(self, k: int, z: Tensor) -> Tensor:
        """The ``h`` of block ``k``; a rule with an activation of its own says so here."""
        return self.network.blocks[k].activate(z)

    def predict(self, x: Tensor) -> Tensor:
        """Scores (batch, classes) for inputs (batch, channels, height, width)."""
        for k, block in enumerate(self.network.blocks):
            x = block.emit(self.activate(k, block.preactivation(x)))
        logits: Tensor = self.network.readout(x)
        return logits

    def attach(self, updates: Mapping[str, Callable[[Grads], None]]) -> None:
        """Gives the rule the optimizers of its groups; the trainer calls it."""
        self._updates = updates

    def update(self, group: str, grads: Grads) -> None:
        """Hands a group's gradients to its optimizer, which changes the parameters at once.

        Raises:
            KeyError: no optimizer is attached for this group.
        """
        self._updates[group](grads)


class LocalRule(Rule):
    """A rule that trains block by block and frees a block's graph before the next one runs.

    Give it a ``loss``, or a ``cotangent`` in closed form, or both (the closed form is used, and
    the two must agree). The readout learns from the task's loss on the last block's detached
    output.
    """

    def __init__(self, network: Network, task: Task, config: RuleConfig, init: Init) -> None:
        super().__init__(network, task, config, init)
        self._closed_form = type(self).cotangent is not LocalRule.cotangent
        self._groups = {group.name: dict(group.params) for group in self.groups()}
        names = [*(f"block{k}" for k in range(len(network.blocks))), "readout"]
        self._from = [names[k:] for k in range(len(names))]

    def loss(self, v: View, s: Step) -> Tensor | None:
        """The block's loss, a scalar; None when this block is not trained."""
        raise NotImplementedError(f"{type(self).__name__} has neither loss nor cotangent")

    def cotangent(self, v: View, s: Step) -> Tensor | None:
        """The gradient of the block's loss at ``v.z``, without autograd; None when not trained."""
        raise NotImplementedError(f"{type(self).__name__} has no cotangent")

    def step(self, batch: Batch, s: Step) -> None:
        """Walks the blocks, training each, then trains the readout.

        Above the last group that the step's phase trains, nothing is run.
        """
        x = batch.x
        for k in range(len(self.network.blocks)):
            if not any(map(s.trains, self._from[k])):
                return
            group = f"block{k}"
            if self._groups[group] and s.trains(group):
                x = self.train_block(k, x, batch, s)
            else:
                x = self.frozen_block(k, x)
        self.train_readout(x, batch.target, s)

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        """Trains block ``k`` on its detached input and returns what it emits, detached.

        What is emitted comes from the weights before the update.
        """
        block, group = self.network.blocks[k], f"block{k}"
        params = self._groups[group]
        z = block.preactivation(x, s)
        if self._closed_form:
            with torch.no_grad():
                h = self.activate(k, z)
                cotangent = self.cotangent(View(k, batch.x, x, z.detach(), h, batch.target), s)
            if cotangent is not None:
                self.update(group, differentiate(z, params, cotangent))
        else:
            h = self.activate(k, z)
            loss = self.loss(View(k, batch.x, x, z, h, batch.target), s)
            if loss is not None:
                self.update(group, differentiate(loss, params))
        with torch.no_grad():
            return block.emit(h.detach(), s)

    def frozen_block(self, k: int, x: Tensor) -> Tensor:
        """What a block that is not trained emits: as in evaluation, its statistics stay."""
        block = self.network.blocks[k]
        block.eval()
        with torch.no_grad():
            x = block.emit(self.activate(k, block.preactivation(x)))
        block.train()
        return x

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        """Trains the readout on the last block's output, and logs its loss."""
        loss = self.task.loss(self.network.readout(x), target)
        s.log("loss", loss.detach())
        if s.trains("readout"):
            self.update("readout", differentiate(loss, self._groups["readout"]))


class GradientRule(Rule):
    """A rule with one gradient for all parameters: of its ``loss``, or its own ``gradients``."""

    def __init__(self, network: Network, task: Task, config: RuleConfig, init: Init) -> None:
        super().__init__(network, task, config, init)
        self._groups = {group.name: dict(group.params) for group in self.groups()}
        self._trained = {name: p for params in self._groups.values() for name, p in params.items()}

    def groups(self) -> list[Group]:
        """One group with every trained parameter: they are all updated at once."""
        return [Group("all", trained(self, ""))]

    def loss(self, batch: Batch, s: Step) -> Tensor:
        """The loss that lbench differentiates, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has neither loss nor gradients")

    def gradients(self, batch: Batch, s: Step) -> Grads:
        """What each parameter moves against, by name. Log the task's loss as ``loss``."""
        loss = self.loss(batch, s)
        s.log("loss", loss.detach())
        return differentiate(loss, self._trained)

    def step(self, batch: Batch, s: Step) -> None:
        """Computes the gradients and hands each group its part."""
        grads = self.gradients(batch, s)
        for group, params in self._groups.items():
            if s.trains(group):
                whole = len(params) == len(self._trained)
                own = grads if whole else {name: grads[name] for name in params if name in grads}
                self.update(group, own)


def trained(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    """The parameters of a module that ask for gradients, by name behind a prefix."""
    return {
        prefix + name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def differentiate(
    output: Tensor | Sequence[Tensor],
    params: Mapping[str, nn.Parameter],
    cotangent: Tensor | Sequence[Tensor] | None = None,
    *,
    keep: bool = False,
) -> dict[str, Tensor]:
    """Gradients of ``output`` at the parameters that it depends on, by name.

    Args:
        output: a scalar, or a tensor with its ``cotangent``, or several with theirs.
        keep: keep the graph for another call.
    """
    values: Sequence[Tensor | None] = torch.autograd.grad(
        output, list(params.values()), cotangent, retain_graph=keep, allow_unused=True
    )
    return {name: g for name, g in zip(params, values, strict=True) if g is not None}
