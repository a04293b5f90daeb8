"""Recorded steps of other implementations, and how far a rule's own step is from them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.norm import LocalNorm
from lbench.networks.spec import network_spec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Grads, Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update

FOLDER = Path(__file__).parent
FLOOR = 1e-4
"""Least size that a deviation is divided by, as a share of the largest recorded number: some
gradients are 0 by symmetry."""


@dataclass
class Case:
    """One recorded step; README.md beside this file describes the kinds of arrays.

    Args:
        rule: the rule's name.
        name: of the case within its rule.
        meta: options of rule and network, conventions, tolerance.
        arrays: by kind, then by name; what has no name is under "".
    """

    rule: str
    name: str
    meta: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, dict[str, Tensor]] = field(default_factory=lambda: defaultdict(dict))


def cases(path: Path) -> list[Case]:
    """Return the cases of a fixture, with numbers in float64."""
    found: dict[str, Case] = {}
    with np.load(path) as arrays:
        for key, array in arrays.items():
            name, kind, *rest = key.split("/", 2)
            case = found.setdefault(name, Case(path.stem, name))
            if kind == "meta":
                case.meta = json.loads(str(array))
            else:
                exact = array.astype(np.int64 if array.dtype.kind == "i" else np.float64)
                case.arrays[kind]["".join(rest)] = torch.from_numpy(exact)
    return list(found.values())


CASES = [case for path in sorted(FOLDER.glob("*.npz")) for case in cases(path)]


def build(case: Case) -> Rule:
    """Return the case's rule in float64, with the recorded weights."""
    meta, init = case.meta, Init(0)
    shape, classes = tuple(meta["shape"]), meta["classes"]
    entry = registry().find("networks", meta["network"])
    family = registry().load("networks", meta["network"])
    network = network_spec(entry, family, meta["net"]).build(init, shape, classes)
    kind = registry().load("rules", meta["rule"])
    rule: Rule = kind(network, Task("toy", shape, classes), kind.Config(**meta["options"]), init)
    rule.double().train()
    for module in rule.modules():
        if isinstance(module, LocalNorm):
            module.eps = meta["eps"]
    parameters = dict(rule.named_parameters())
    with torch.no_grad():
        for name, value in case.arrays["state"].items():
            assert parameters[name].shape == value.shape, name
            parameters[name].copy_(value)
    return rule


class RecordedStep(Step):
    """A step that returns recorded noise; any other stream raises a KeyError."""

    def __init__(self, index: int, streams: Mapping[str, Tensor]) -> None:
        super().__init__(Randomness(0), index)
        self.streams = streams

    def noise(self, stream: str, shape: Any, kind: str = "normal") -> Tensor:
        value = self.streams[stream]
        assert value.shape == torch.Size(shape), stream
        return value.clone()  # a rule may change its noise in place


def run(case: Case, rule: Rule) -> tuple[dict[str, Tensor], Tensor | None]:
    """Take the case's steps; return the first step's gradients by name and its logged loss.

    Parameters change only where the case has a recipe.
    """
    first: dict[str, Tensor] = {}
    recipe = Recipe(**case.meta["recipe"]) if "recipe" in case.meta else None

    def keep(change: Callable[[Grads], None] | None, grads: Grads) -> None:
        for name, value in grads.items():
            first.setdefault(name, value.detach().clone())
        if change is not None:
            change(grads)

    rule.attach(
        {
            group.name: partial(keep, Update(group, recipe) if recipe else None)
            for group in rule.groups()
        }
    )
    count = case.meta.get("steps", 1)
    losses = []
    batches = (case.arrays[kind][""].chunk(count) for kind in ("x", "target"))
    for index, (x, target) in enumerate(zip(*batches, strict=True)):
        s = RecordedStep(index, case.arrays["noise"])
        rule.step(rule.prepare(Batch(x, target), s), s)
        losses.append(s.logs.get("loss"))
    return first, losses[0]


def expected(case: Case) -> Iterator[tuple[str, Tensor]]:
    """Yield the recorded results in lbench's scale: gradients, ``loss``, ``after NAME``."""
    meta = case.meta
    for name, value in case.arrays["ref"].items():
        yield name, value * meta["factors"].get(name, meta["factor"])
    for name, value in case.arrays["after"].items():
        yield f"after {name}", value
    if "logged" in meta:
        name, factor = meta["logged"]
        yield "loss", case.arrays["loss"][name] * factor


def measure(case: Case) -> tuple[dict[str, Tensor], set[str]]:
    """Return what lbench finds, named as in :func:`expected`, and the trained parameters."""
    rule = build(case)
    grads, loss = run(case, rule)
    found = dict(grads)
    found |= {f"after {name}": value for name, value in rule.state_dict().items()}
    if loss is not None:
        found["loss"] = loss
    return found, set(grads)


def deviation(value: Tensor, wanted: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference, relative to the largest wanted number or the floor."""
    return float((value - wanted).abs().max() / wanted.abs().max().clamp_min(floor))


def deviations(case: Case, found: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the deviation of each recorded result, by name."""
    wanted = dict(expected(case))
    floor = FLOOR * max(float(wanted[name].abs().max()) for name in case.arrays["ref"])
    return {name: deviation(found[name], value, floor) for name, value in wanted.items()}
