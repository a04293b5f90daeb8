"""The gradient of the output loss, independent of the rule's own backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lbench.auditing.copies import twin
from lbench.rule import Rule
from lbench.task import Batch

STEP = 1e-8
"""Step of the finite difference; a short step rarely meets a kink of a piecewise smooth network."""
CLOSE = 1e-2
"""Largest difference between the two slopes, in norms of the gradient."""


class NoGradientError(Exception):
    """Autograd's result is not the gradient of the rule's predictions."""


def output_gradient(rule: Rule, batch: Batch, names: Iterable[str]) -> dict[str, Tensor]:
    """Return the gradient of the task's loss of the rule's predictions, by parameter, in float64.

    BatchNorm normalises by the batch, as in training; there is no dropout. A rule may have put
    maps with another backward pass into the network: where such a map has the output of the plain
    map, the plain one is differentiated.

    Args:
        rule: the rule; it does not change.
        batch: the examples.
        names: names of parameters; those that predictions do not depend on are left out.

    Raises:
        NoGradientError: a finite difference along a fixed direction has another slope.
    """
    copy = twin(rule).double()
    x, target = batch.x.double(), batch.target
    with torch.no_grad():
        _make_plain(copy, x)
    every = dict(copy.named_parameters())
    params = {name: every[name] for name in names}
    with torch.enable_grad():
        loss = copy.task.loss(copy.predict(x), target)
        values = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    grads = {name: g for name, g in zip(params, values, strict=True) if g is not None}
    with torch.no_grad():
        _check(copy, x, target, params, grads)
    return grads


def _make_plain(rule: Rule, x: Tensor) -> None:
    """Replace maps that differ from plain ones in their backward pass alone by the plain ones."""
    kinds: dict[nn.Module, type[nn.Module]] = {}
    for module in rule.modules():
        for kind in (nn.Linear, nn.Conv2d):
            if isinstance(module, kind) and type(module) is not kind:
                kinds[module] = kind
    differing: set[nn.Module] = set()

    def compare(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        try:
            plain = kinds[module].forward(module, *inputs)
        except RuntimeError:  # shapes do not fit
            differing.add(module)
            return
        if plain.shape != output.shape or not torch.allclose(plain, output):
            differing.add(module)

    hooks = [module.register_forward_hook(compare) for module in kinds]
    rule.predict(x)
    for hook in hooks:
        hook.remove()
    for module in kinds.keys() - differing:
        module.__class__ = kinds[module]


def _check(
    rule: Rule, x: Tensor, target: Tensor, params: Mapping[str, Tensor], grads: Mapping[str, Tensor]
) -> None:
    generator = torch.Generator().manual_seed(0)
    along = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device)
        for name, p in params.items()
    }
    slope = sum(float((g * along[name]).sum()) for name, g in grads.items())
    losses = []
    for sign in (1, -1):
        for name, p in params.items():
            p.add_(along[name], alpha=sign * STEP)
        losses.append(float(rule.task.loss(rule.predict(x), target)))
        for name, p in params.items():
            p.sub_(along[name], alpha=sign * STEP)
    difference = (losses[0] - losses[1]) / (2 * STEP)
    size = sum(float(g.square().sum()) for g in grads.values()) ** 0.5
    if abs(slope - difference) > CLOSE * size + 1e-6:
        raise NoGradientError(
            f"Autograd gives a slope of {slope:.6g}, a finite difference {difference:.6g}."
        )
