"""Checks of a rule on different networks and inputs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbench.errors import UsageError
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.rule import Rule
from lbench.testing.subject import (
    BATCH_NORM,
    BATCH_NORM_1D,
    CLASSES,
    NETS,
    UNIT,
    FailedError,
    Net,
    SkippedError,
    Subject,
    attempt,
    logits,
    steps,
    toy,
    train,
)

COLOUR = (3, 8, 8)


def networks_train(subject: Subject) -> str:
    """Check that mlp, cnn, resnet and mixer train to finite logits, or are refused with a hint."""
    return _tried(subject, NETS)


def block_counts(subject: Subject) -> str:
    """Check that 1, 2 and 6 blocks, and 6 layers in 2 blocks, train or are refused with a hint."""
    for family in (_mlp, _cnn, _mixer):
        nets = [family(count) for count in (1, 2, 6)]
        nets.append(Net(f"{nets[-1].label} in 2", nets[-1].spec, blocks=2))
        if isinstance(attempt(subject, nets[1]), Rule):
            return _tried(subject, nets)
    raise SkippedError("refuses mlp, cnn and mixer")


def grey_and_colour(subject: Subject) -> str:
    """Check that images of one and of three channels train, or are refused with a hint."""
    (net, *_) = subject.nets
    return _tried(subject, [Net(f"{net.label} on grey", net.spec), Net("colour", net.spec, COLOUR)])


def batch_norm_once_per_step(subject: Subject) -> str:
    """Check that a step updates BatchNorm's statistics once, in the blocks that it trains alone."""
    refused = []
    for net in (BATCH_NORM, BATCH_NORM_1D):
        rule = attempt(subject, net)
        if isinstance(rule, UsageError):
            refused.append(rule.message)
            continue
        _once_per_step(rule, net)
    if len(refused) == 2:
        raise SkippedError(f"refused: {refused[0]}")
    return "once"


def _once_per_step(rule: Rule, net: Net) -> None:
    norms = {
        k: [module for module in block.modules() if isinstance(module, _BatchNorm)]
        for k, block in enumerate(rule.network.blocks)
    }
    before = {k: _tracked(modules) for k, modules in norms.items()}
    trains = {k: set(_groups(rule, block)) for k, block in enumerate(rule.network.blocks)}
    for s in steps(rule, toy()):
        for k, modules in norms.items():
            now = _tracked(modules)
            expected = int(any(map(s.trains, trains[k])))
            times = sorted({b - a for a, b in zip(before[k], now, strict=True)})
            if times != [expected]:
                raise FailedError(
                    f"on {net.label} a step of phase {s.phase.name if s.phase else ''} updates the "
                    f"statistics of block {k} {' or '.join(map(str, times))} times, not {expected}"
                )
            before[k] = now
    logits(rule, toy()[0].x)
    if before != {k: _tracked(modules) for k, modules in norms.items()}:
        raise FailedError(f"on {net.label} predicting updates the statistics")


def _tried(subject: Subject, nets: Iterable[Net]) -> str:
    """Train on each network; return which ones the rule accepted, and which it refused.

    Raises:
        FailedError: a network neither trains nor is refused, or all are refused.
    """
    accepted, refused = [], []
    for net in nets:
        try:
            rule = attempt(subject, net)
            if isinstance(rule, UsageError):
                refused.append(f"{net.label} ({rule.message})")
                continue
            batches = toy((12, 7), net.shape)
            losses = train(rule, batches)
            scores = logits(rule, batches[0].x)
        except FailedError as error:
            raise FailedError(f"on {net.label}: {error}") from error
        except Exception as error:
            error.add_note(f"on {net.label}")
            raise
        if scores.shape != (12, CLASSES):
            raise FailedError(f"logits on {net.label} have shape {tuple(scores.shape)}")
        if not (torch.isfinite(losses).all() and torch.isfinite(scores).all()):
            raise FailedError(f"losses or logits on {net.label} are not finite")
        accepted.append(net.label)
    refusals = f"refused: {'; '.join(refused)}" if refused else ""
    if not accepted:
        raise FailedError(refusals)
    return "; ".join(filter(None, [", ".join(accepted), refusals]))


def _mlp(count: int) -> Net:
    return Net(f"mlp of {count}", Mlp(widths=(UNIT,) * count))


def _cnn(count: int) -> Net:
    return Net(f"cnn of {count}", Cnn(widths=(UNIT,) * count, norm="group"))


def _mixer(count: int) -> Net:
    return Net(f"mixer of {count}", LocalMixer(patches=2, channels=UNIT, groups=2, depth=count))


def _tracked(norms: Iterable[_BatchNorm]) -> list[int]:
    return [int(norm.num_batches_tracked or 0) for norm in norms]


def _groups(rule: Rule, block: nn.Module) -> Iterable[str]:
    """Yield the names of the groups that train parameters of a block."""
    own = {id(parameter) for parameter in block.parameters()}
    for group in rule.groups():
        if any(id(parameter) in own for parameter in group.params.values()):
            yield group.name
