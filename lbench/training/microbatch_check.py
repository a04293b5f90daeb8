"""The check that microbatches make the update of the whole batch."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from lbench.auditing.copies import Copy, Original
from lbench.auditing.rules import CLASSES, SHAPE, on_small_network
from lbench.auditing.schedule import position
from lbench.errors import LbenchError, MisfitError
from lbench.init import Init
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training import plugin_errors
from lbench.training.cell import Cell, build_network
from lbench.training.microbatch import HINT, Microbatches
from lbench.training.optim import Update

EXAMPLES, PART = 9, 4
"""Examples of a batch and of a part: the parts have 4, 4 and 1. A rule may divide them further."""
STEPS = 3
"""Steps of each phase, at the positions of :func:`lbench.auditing.schedule.position`."""
RELATIVE = 1e-9
"""Largest difference between two weights, relative to the largest change of any weight."""
RECIPE = Recipe(optimizer="sgd", lr=0.01, momentum=0.0, schedule="constant")
"""Plain gradient steps, so that weights differ as much as gradients do."""


def check_microbatches(cell: Cell, rule: Rule) -> None:
    """Check that a configuration makes the same updates from microbatches as from whole batches.

    The rule must claim that it couples no examples on this network. Then it is trained for some
    steps in both ways, in float64 on a small network of the same family, as the audit does.

    Args:
        cell: the configuration.
        rule: the rule on its network.

    Raises:
        MisfitError: the updates differ, or may differ; the message has the reason.
    """
    couples = rule.claims(cell.config, rule.network).couples
    if couples == "none":
        if problem := _difference(cell):
            raise _refusal(cell, *problem)
    elif couples is None:
        raise _refusal(
            cell,
            "it does not claim how it couples the examples of a batch",
            f'{HINT} If it couples none, its author can claim couples="none".',
        )
    elif rule.network.couples != "none":
        norm = type(cell.network_spec).model_fields.get("norm")
        remedy = norm is not None and "group" in get_args(norm.annotation)
        raise _refusal(
            cell,
            "the BatchNorm of this network normalises each part by the part's own statistics",
            "Add --net norm=group, or leave out --microbatch." if remedy else HINT,
        )
    else:
        how = "means over the batch" if couples == "mean" else "pairs of rows"
        raise _refusal(
            cell,
            f"with these options it couples the examples of a batch, through {how}",
            "Leave out --microbatch, or choose options with which it couples none: "
            f"lbench rules {cell.rule}",
        )


def _refusal(cell: Cell, reason: str, hint: str) -> MisfitError:
    return MisfitError(
        f"--microbatch {cell.microbatch} would change the updates of rule {cell.rule}: {reason}.",
        hint,
    )


def _difference(cell: Cell) -> tuple[str, str] | None:
    """Return why updates differ on the small network, and a hint; None if they are equal."""
    try:
        rule = _small(cell)
        original = Original(
            {"rule": rule},
            excluded=(rule.config, rule.task),
            replaced=((rule._updates, {}),),
            dtype=torch.float64,
        )
        before = _state(original.copy())
        whole, parts = (_trained(original.copy(), size) for size in (EXAMPLES, PART))
    except LbenchError as error:
        return error.message.rstrip("."), error.hint
    except (Exception, SystemExit) as error:
        return f"a step on a small network failed with {plugin_errors.reason(error)}", HINT
    largest = max(_distance(whole[name], value) for name, value in before.items())
    for name, value in whole.items():
        if not _distance(parts[name], value) <= RELATIVE * largest:
            return (
                f"on a small network, {name} differs after a few steps",
                f"{HINT} Updates are equal if they follow means of gradients over the examples, "
                "computed with the weights from before the step.",
            )
    return None


def _small(cell: Cell) -> Rule:
    """Return the rule on a small network of the configuration's family."""
    task, frozen = Task(cell.task.dataset, SHAPE, CLASSES), cell.frozen_encoder

    def make(spec: NetworkSpec) -> Rule:
        init = Init(0)
        network = build_network(spec, init, task, cell.recipe.dropout, None, frozen=frozen)
        if cell.blocks is not None and cell.blocks < len(network.blocks):
            network = network.regrouped(cell.blocks)
        return cell.rule_class(network, task, cell.config, init)

    rule, _ = on_small_network(cell.network_spec, make)
    return rule


def _trained(copy: Copy, size: int) -> dict[str, Tensor]:
    """Return the state of a copy of the rule that was trained in parts of this size."""
    (rule,) = copy.objects
    rule.train()
    updates = {group.name: Update(group, RECIPE) for group in rule.groups() if group.params}
    for update in updates.values():
        update.rate(RECIPE.lr)
    rule.attach(updates)
    randomness, microbatches = Randomness(0), Microbatches(size)
    with copy.inside():
        for number, phase in enumerate(p for p in rule.phases() for _ in range(STEPS)):
            at = position(number)
            s = Step(randomness, at.index, at.epoch, phase=phase, last=at.last)
            x = randomness.draw("microbatch/x", number, (EXAMPLES, *SHAPE)).double()
            target = (torch.arange(EXAMPLES) + number) % CLASSES
            microbatches.step(rule, Batch(x, target), s)
    return _state(copy)


def _state(copy: Copy) -> dict[str, Tensor]:
    (rule,) = copy.objects
    return {
        name: value.detach().double().clone()
        for name, value in rule.state_dict().items()
        if isinstance(value, Tensor)
    }


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0
