"""Checks of what a rule's options change, and of what the rule says about this.

Two values of an option are compared on each network until one changes trained weights or
predictions; then, if none does, together with other values of a second option. An option that
changes no result by its declaration (``searched=False``) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.rule import Rule
from lbench.testing.subject import (
    NETS,
    FailedError,
    Net,
    SkippedError,
    Subject,
    differing,
    listed,
    logits,
    toy,
    train,
)
from lbench.training.option_effects import (
    OptionEffects,
    declares_effects,
    declares_numbers,
    variants,
)

EPOCHS, BATCHES = 2, (12, 12)
"""Epochs of the trainings that are compared, since some options act from the second one on."""

State = dict[str, Tensor]


def every_option_acts(subject: Subject) -> str:
    """Check that each option changes a run, or that its help names the option that it needs."""
    if subject.quick:
        raise SkippedError("the full form tries the options")
    fields = type(subject.config).model_fields
    names = [name for name in fields if _changes_results(subject, name)]
    if not names:
        raise SkippedError("the rule has no options that change results")
    trainings = _Trainings(subject)
    dead = [name for name in names if not trainings.acts(subject.config, name)]
    problems, pairs = [], []
    for name in dead:
        partner = trainings.partner(name, [other for other in names if other != name])
        if partner is None:
            problems.append(f"{name} changes nothing on {', '.join(trainings.labels)}")
        elif not re.search(rf"\b{re.escape(partner[0])}\b", fields[name].description or ""):
            problems.append(
                f"{name} acts only with another {partner[0]}, such as {partner[1]!r}, which its "
                "help does not say"
            )
        else:
            pairs.append(f"{name} with {partner[0]}={partner[1]}")
    if problems:
        raise FailedError("; ".join(problems))
    return f"{len(names)} options" + (f", {listed(pairs)}" if pairs else "")


def equal_options_are_the_same_rule(subject: Subject) -> str:
    """Check that options that the rule calls equal give equal runs, and numbers per block fit."""
    if not declares_effects(subject.cls) and not declares_numbers(subject.cls):
        raise SkippedError("the rule declares neither effective options nor numbers per block")
    trainings, compared = _Trainings(subject), 0
    for net in subject.nets:
        rule = subject.build(net)
        effects = OptionEffects(subject.cls, rule.network, rule.task)
        _check_numbers(effects, subject.config, net)
        for option in type(subject.config).model_fields:
            for other in variants(subject.config, option)[1:]:
                if effects.same([subject.config, other]):
                    compared += _check_equal(trainings, net, option, other)
    return f"{compared} equal pairs of options"


def _check_numbers(effects: OptionEffects, config: RuleConfig, net: Net) -> None:
    """Check that every name has one finite number per block.

    Raises:
        FailedError: it has not.
    """
    for name, row in effects.per_block(config).items():
        if len(row) != len(effects.network.blocks):
            raise FailedError(
                f"on {net.label} there are {len(row)} numbers of {name} for "
                f"{len(effects.network.blocks)} blocks"
            )
        if not torch.isfinite(torch.tensor(row)).all():
            raise FailedError(f"on {net.label} the numbers of {name} are {row}")


def _check_equal(trainings: _Trainings, net: Net, option: str, other: RuleConfig) -> bool:
    """Check that other options give the same run; return whether both can be trained.

    Raises:
        FailedError: weights or logits differ.
    """
    config = trainings.subject.config
    before, after = trainings.state(net, config), trainings.state(net, other)
    if before is None or after is None:
        return False
    if names := differing(before, after):
        raise FailedError(
            f"on {net.label} {option}={getattr(other, option)} gives another {listed(names)} than "
            f"{getattr(config, option)}, but the rule calls them equal"
        )
    return True


def _changes_results(subject: Subject, name: str) -> bool:
    extra = type(subject.config).model_fields[name].json_schema_extra
    return not isinstance(extra, dict) or bool(extra.get("searched", True))


class _Trainings:
    """Short trainings of a rule with different options, each made once.

    Args:
        subject: the rule.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.nets = [net for net in NETS if self._built(net, subject.config) is not None]
        self.labels = [net.label for net in self.nets]
        self._states: dict[tuple[str, str], State | None] = {}

    def acts(self, config: RuleConfig, option: str) -> bool:
        """Return whether an option changes a training on any network, beside these options."""
        return any(
            differing(before, after)
            for other in variants(config, option)[1:]
            for net in self.nets
            for before, after in self._pairs(net, config, other)
        )

    def partner(self, option: str, others: Sequence[str]) -> tuple[str, object] | None:
        """Return another option and a value of it with which an option acts; None if none does."""
        for other in others:
            for config in variants(self.subject.config, other)[1:]:
                if self.acts(config, option):
                    return other, getattr(config, other)
        return None

    def state(self, net: Net, config: RuleConfig) -> State | None:
        """Return trained weights and logits; None if the rule refuses options or network."""
        key = net.label, repr(config)
        if key not in self._states:
            self._states[key] = self._trained(net, config)
        return self._states[key]

    def _pairs(
        self, net: Net, config: RuleConfig, other: RuleConfig
    ) -> Iterator[tuple[State, State]]:
        before, after = self.state(net, config), self.state(net, other)
        if before is not None and after is not None:
            yield before, after

    def _trained(self, net: Net, config: RuleConfig) -> State | None:
        rule = self._built(net, config)
        if rule is None:
            return None
        batches = toy(BATCHES, net.shape)
        train(rule, batches, epochs=EPOCHS)
        state = {name: value.detach().clone() for name, value in rule.named_parameters()}
        return {**state, "logits": logits(rule, batches[0].x)}

    def _built(self, net: Net, config: RuleConfig) -> Rule | None:
        try:
            return self.subject.build(net, config=config)
        except UsageError:
            return None
