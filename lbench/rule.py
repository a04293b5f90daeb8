"""Rule: how parameters change given a batch. Authors of rules read this module.

Write a rule that trains block by block as a :class:`LocalRule`, one with a single loss or its own
gradients as a :class:`GradientRule`, and any other as a :class:`Rule` with its own ``step``.
lbench has the data, optimizers, schedules, checkpoints and records; a rule has the network and
its own auxiliary modules, so that ``state_dict()`` is all that resuming needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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
"""Gradients by the parameter's name in the rule, such as ``network.blocks.0.layer…``."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are updated together.

    Args:
        name: its name in :meth:`Rule.update` and in phases.
        params: the parameters, by their name in the rule.
        lr: factor on the recipe's learning rate.
        weight_decay: factor on the recipe's weight decay.
    """

    name: str
    params: Mapping[str, nn.Parameter]
    lr: float = 1.0
    weight_decay: float = 1.0


@dataclass(slots=True)
class View:
    """The tensors that a block's local loss may use.

    Args:
        k: index of the block.
        x0: the network's input, (batch, channels, height, width).
        x: the block's input, detached.
        z: the block's preactivation.
        h: the activation of z by the rule's ``activate``.
        target: labels, (batch,).
    """

    k: int
    x0: Tensor
    x: Tensor
    z: Tensor
    h: Tensor
    target: Tensor


class Rule(nn.Module):
    """Base of all rules; every method except ``step`` has a default.

    Args:
        network: the network to train.
        task: the classification problem.
        config: the rule's options.
        init: the source of initial values, addressed by name.
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
        """Return the rule's claims, which may depend on options and network."""
        return Claims()

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return the rule's recipe.

        Args:
            default: the dataset's recipe.
            dataset: name of the dataset.
            network: name of the network.
        """
        return default

    @classmethod
    def per_block(
        cls, config: RuleConfig, network: Network, task: Task
    ) -> Mapping[str, Sequence[float]]:
        """Return numbers that follow from options, network and task, one per block, by name.

        For example ``{"workers": [26, 26], "leaders": [18, 18]}``. They are printed when a run
        starts, recorded with it and reported.
        """
        return {}

    @classmethod
    def effective(cls, config: RuleConfig, network: Network, task: Task) -> Mapping[str, Any]:
        """Return the options as they act on this network; by default all of them as they are.

        With equal results, two sets of options must give bit-identical runs: an option that
        cannot act on the network beside the others is left out. lbench then refuses a study that
        varies an option without effect.
        """
        return config.model_dump()

    @classmethod
    def remedy(cls, option: str, config: RuleConfig, network: Network, task: Task) -> str:
        """Return what makes an option act that cannot act here, a hint; "" for no advice."""
        return ""

    def build(self, init: Init) -> None:
        """Make auxiliary modules, and check that the network fits.

        Raises:
            UsageError: the network does not fit; the message names the block and the number, the
                hint says what would fit.
        """

    def groups(self) -> list[Group]:
        """Return the groups of parameters: by default one per block, and ``readout``.

        A block's group also has its auxiliary modules: the block's entry of every ``ModuleList`` of
        the rule that has one entry per block.
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
        """Return the parts of the budget; each has its own groups and schedule."""
        return [Phase()]

    def prepare(self, batch: Batch, s: Step) -> Batch:
        """Return the batch that ``step`` gets, such as one with label overlays or negatives."""
        return batch

    def step(self, batch: Batch, s: Step) -> None:
        """Make one training step: pass gradients to :meth:`update` and the loss to ``s.log``."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def after_step(self, s: Step) -> None:
        """Change the rule's own state, only here; ``s.logs`` has what the step logged."""

    def activate(self, k: int, z: Tensor) -> Tensor:
        """Return h of block ``k``; a rule with an activation of its own overrides this."""
        return self.network.blocks[k].activate(z)

    def predict(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, height, width)."""
        for k, block in enumerate(self.network.blocks):
            x = block.emit(self.activate(k, block.preactivation(x)))
        logits: Tensor = self.network.readout(x)
        return logits

    def attach(self, updates: Mapping[str, Callable[[Grads], None]]) -> None:
        """Set the optimizers of the groups; the trainer calls this."""
        self._updates = updates

    def update(self, group: str, grads: Grads) -> None:
        """Pass a group's gradients to its optimizer, which changes the parameters at once.

        Raises:
            KeyError: no optimizer is attached for this group.
        """
        self._updates[group](grads)


class LocalRule(Rule):
    """A rule that trains block by block and frees a block's graph before the next one runs.

    A subclass defines ``loss``, or ``cotangent`` in closed form, or both (then the closed form is
    used, and the two must agree). The readout learns from the task's loss on the last block's
    detached output.
    """

    def __init__(self, network: Network, task: Task, config: RuleConfig, init: Init) -> None:
        super().__init__(network, task, config, init)
        self._closed_form = type(self).cotangent is not LocalRule.cotangent
        self._groups = {group.name: dict(group.params) for group in self.groups()}
        names = [*(f"block{k}" for k in range(len(network.blocks))), "readout"]
        self._from = [names[k:] for k in range(len(names))]

    def loss(self, v: View, s: Step) -> Tensor | None:
        """Return the block's loss, a scalar; None if this block is not trained in this step."""
        raise NotImplementedError(f"{type(self).__name__} has neither loss nor cotangent")

    def cotangent(self, v: View, s: Step) -> Tensor | None:
        """Return the gradient of the block's loss at ``v.z``; None if the block is not trained.

        It is computed without autograd.
        """
        raise NotImplementedError(f"{type(self).__name__} has no cotangent")

    def step(self, batch: Batch, s: Step) -> None:
        """Train each block in order, then the readout.

        Blocks above the last group that the step's phase trains do not run.
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
        """Train block ``k`` on its detached input; return its output, detached.

        The output comes from the weights before the update.
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
        """Return the output of a block that is not trained, in evaluation mode."""
        block = self.network.blocks[k]
        block.eval()
        with torch.no_grad():
            x = block.emit(self.activate(k, block.preactivation(x)))
        block.train()
        return x

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        """Train the readout on the last block's output, and log its loss."""
        loss = self.task.loss(self.network.readout(x), target)
        s.log("loss", loss.detach())
        if s.trains("readout"):
            self.update("readout", differentiate(loss, self._groups["readout"]))


class GradientRule(Rule):
    """A rule with one gradient for all parameters: that of ``loss``, or its own ``gradients``."""

    def __init__(self, network: Network, task: Task, config: RuleConfig, init: Init) -> None:
        super().__init__(network, task, config, init)
        self._groups = {group.name: dict(group.params) for group in self.groups()}
        self._trained = {name: p for params in self._groups.values() for name, p in params.items()}

    def groups(self) -> list[Group]:
        """Return one group with every trained parameter: all are updated at once."""
        return [Group("all", trained(self, ""))]

    def loss(self, batch: Batch, s: Step) -> Tensor:
        """Return the loss that lbench differentiates, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has neither loss nor gradients")

    def gradients(self, batch: Batch, s: Step) -> Grads:
        """Return the gradients by parameter name; an override logs the task's loss as ``loss``."""
        loss = self.loss(batch, s)
        s.log("loss", loss.detach())
        return differentiate(loss, self._trained)

    def step(self, batch: Batch, s: Step) -> None:
        """Compute the gradients, and update each group with its part."""
        grads = self.gradients(batch, s)
        for group, params in self._groups.items():
            if s.trains(group):
                whole = len(params) == len(self._trained)
                own = grads if whole else {name: grads[name] for name in params if name in grads}
                self.update(group, own)


def trained(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    """Return the parameters of a module with ``requires_grad``, by their name behind a prefix."""
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
    """Return the gradients of ``output`` at the parameters that it depends on, by name.

    Args:
        output: a scalar, a tensor with its ``cotangent``, or several of these.
        params: the parameters, by name.
        cotangent: the gradient at ``output``; None for a scalar.
        keep: whether to keep the graph for another call.
    """
    values: Sequence[Tensor | None] = torch.autograd.grad(
        output, list(params.values()), cotangent, retain_graph=keep, allow_unused=True
    )
    return {name: g for name, g in zip(params, values, strict=True) if g is not None}
