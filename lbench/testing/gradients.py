"""Checks of what a rule declares: its groups, its closed forms and its claims."""

from __future__ import annotations

from collections import Counter

import torch

from lbench.auditing.rules import audit_rule
from lbench.randomness import Randomness
from lbench.rule import LocalRule, Rule, View
from lbench.step import Step
from lbench.task import Batch
from lbench.testing.subject import (
    BATCH_NORM,
    FailedError,
    SkippedError,
    Subject,
    attempt,
    listed,
    toy,
)
from lbench.training.job import parameters


def parameters_accounted(subject: Subject) -> str:
    """Check that trained parameters are in one group, others in none, and that counts add up."""
    note = ""
    for net in subject.nets:
        rule = subject.build(net)
        groups = _groups(rule, net.label)
        for name, p in rule.named_parameters():
            own = groups.get(id(p), [])
            if p.requires_grad and len(own) != 1:
                where = f"the groups {' and '.join(own)}" if own else "no group"
                raise FailedError(f"on {net.label} {name} is in {where}, not in one")
            if own and not p.requires_grad:
                raise FailedError(f"on {net.label} {name} is fixed, but in group {own[0]}")
        counts = parameters(rule, net.shape)
        total = sum(p.numel() for p in rule.parameters())
        if sum(counts.values()) != total:
            raise FailedError(f"on {net.label} {counts} does not add up to {total} parameters")
        if not counts["inf"]:
            raise FailedError(f"on {net.label} the graph of predict reaches no trained parameter")
        note = note or f"{net.label}: " + ", ".join(f"P_{k} {n:,}" for k, n in counts.items())
    return note


def _groups(rule: Rule, label: str) -> dict[int, list[str]]:
    """Return the names of the groups of each parameter, by the parameter's id.

    Raises:
        FailedError: two groups have one name, or a group has a tensor that is no parameter of the
            rule.
    """
    groups = rule.groups()
    for name, times in Counter(group.name for group in groups).items():
        if times > 1:
            raise FailedError(f"on {label} {times} groups are named {name}")
    own = {id(p) for p in rule.parameters()}
    names: dict[int, list[str]] = {}
    for group in groups:
        for name, p in group.params.items():
            if id(p) not in own:
                raise FailedError(f"{name} in group {group.name} is no parameter of the rule")
            names.setdefault(id(p), []).append(group.name)
    return names


def cotangent_is_the_gradient_of_loss(subject: Subject) -> str:
    """Check that a LocalRule's cotangent is autograd's gradient of its loss at z, in float64."""
    cls = subject.cls
    if not issubclass(cls, LocalRule):
        raise SkippedError("the rule is no LocalRule")
    if cls.loss is LocalRule.loss or cls.cotangent is LocalRule.cotangent:
        raise SkippedError("the rule defines only one of loss and cotangent")
    worst = 0.0
    for net in subject.nets:
        rule = subject.build(net).double()
        assert isinstance(rule, LocalRule)
        s = Step(Randomness(0), phase=rule.phases()[0])
        (batch,) = toy((12,), net.shape)
        batch = rule.prepare(Batch(batch.x.double(), batch.target), s)
        x = batch.x
        for k, block in enumerate(rule.network.blocks):
            z = block.preactivation(x, s).detach().requires_grad_()
            h = rule.activate(k, z)
            loss = rule.loss(View(k, batch.x, x, z, h, batch.target), s)
            with torch.no_grad():
                view = View(k, batch.x, x, z.detach(), h.detach(), batch.target)
                given = rule.cotangent(view, s)
            if (loss is None) != (given is None):
                raise FailedError(f"on {net.label} only one of loss and cotangent trains block {k}")
            if loss is not None and given is not None:
                (exact,) = torch.autograd.grad(loss, z)
                if given.shape != exact.shape:
                    raise FailedError(
                        f"on {net.label} the cotangent of block {k} has shape "
                        f"{tuple(given.shape)}, its z {tuple(exact.shape)}"
                    )
                gap = (given - exact).norm().item() / max(exact.norm().item(), 1e-12)
                if not gap <= 1e-6:
                    raise FailedError(
                        f"on {net.label} the cotangent of block {k} differs from the gradient of "
                        f"its loss by {gap:.2g} of its norm"
                    )
                worst = max(worst, gap)
            with torch.no_grad():
                x = block.emit(h.detach(), s)
    return f"equal to {worst:.1g} of the norm"


def claims_equal_measurements(subject: Subject) -> str:
    """Check that the audit measures what the rule claims, and finds nothing that no rule may do."""
    contradictions, unmeasured, nets = [], [], list(subject.nets)
    if not subject.quick and isinstance(attempt(subject, BATCH_NORM), Rule):
        nets.append(BATCH_NORM)
    for net in nets:
        norm = {name: value for name, value in net.spec.model_dump().items() if name == "norm"}
        report = audit_rule(subject.cls, subject.config, net.family, norm)
        contradictions += [f"on {net.label} {problem}" for problem in report.contradictions]
        unmeasured += [f"on {net.label} {name} could not be measured" for name in report.unmeasured]
    if contradictions:
        raise FailedError(listed(contradictions))
    if unmeasured:
        raise SkippedError(listed(unmeasured))
    return ", ".join(net.label for net in nets)
