"""Subject: a rule under examination; the small networks, data and steps of the checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update

CLASSES = 4
UNIT = 24
"""Width of the networks: a multiple of the number of classes, with several units per class."""
RECIPE = Recipe(optimizer="adam", lr=1e-3, schedule="constant")


class FailedError(AssertionError):
    """The claim of a check does not hold; the message says what the rule does instead."""


class SkippedError(Exception):
    """The check does not apply to this rule; the message says why."""


@dataclass(frozen=True, slots=True)
class Net:
    """A network for checks.

    Args:
        label: its name in messages, which begins with the name of its family.
        spec: its options.
        shape: channels, height and width of its inputs.
        blocks: number of blocks that its layers are grouped into; None for its own.
    """

    label: str
    spec: NetworkSpec
    shape: tuple[int, int, int] = (1, 8, 8)
    blocks: int | None = None

    @property
    def family(self) -> str:
        """Return the registered name of its family."""
        return self.label.partition(" ")[0]


def networks(unit: int) -> tuple[Net, ...]:
    """Return one network of each family; none of them couples the examples of a batch.

    BatchNorm cannot train on a batch of one example at one position, so it has a check of its own.
    """
    return (
        Net("mlp", Mlp(widths=(unit, unit))),
        Net("cnn", Cnn(widths=(unit, unit), norm="group")),
        Net("resnet", Resnet(depth=8, width=unit, norm="group")),
        Net("mixer", LocalMixer(patches=2, channels=unit, groups=2, depth=2)),
    )


NETS = networks(UNIT)
BATCH_NORM = Net("cnn with BatchNorm", Cnn(widths=(UNIT, UNIT), norm="batch"))
BATCH_NORM_1D = Net("mlp with BatchNorm", Mlp(widths=(UNIT, UNIT), norm="batch"))


class Subject:
    """A rule with its options.

    Args:
        rule: the name of an installed rule, or a class.
        options: options of the rule that differ from its defaults.
        quick: whether checks take one network; the full form takes all.
    """

    def __init__(
        self,
        rule: str | type[Rule],
        options: Mapping[str, Any] | None = None,
        *,
        quick: bool = True,
    ) -> None:
        self.name = rule if isinstance(rule, str) else rule.__name__.lower()
        self.cls: type[Rule] = registry().load("rules", rule) if isinstance(rule, str) else rule
        self.options = dict(options or {})
        self.quick = quick

    def full(self) -> Subject:
        """Return the same subject for checks in the full form."""
        full = Subject(self.cls, self.options, quick=False)
        full.name = self.name
        return full

    @functools.cached_property
    def config(self) -> RuleConfig:
        """Return the options, checked."""
        return self.cls.Config.parse(
            self.options,
            what=f"rule {self.name}",
            listing=f"See its options with: lbench rules {self.name}",
        )

    def build(self, net: Net, seed: int = 0, config: RuleConfig | None = None) -> Rule:
        """Return the rule on a network, with the initial weights of the seed."""
        init = Init(seed)
        network = net.spec.build(init, net.shape, CLASSES)
        if net.blocks is not None:
            network = network.regrouped(net.blocks)
        return self.cls(network, Task("toy", net.shape, CLASSES), config or self.config, init)

    @functools.cached_property
    def nets(self) -> list[Net]:
        """Return the networks of checks: the first that the rule builds on; in the full form all.

        Raises:
            SkippedError: the rule builds on none.
        """
        config, nets = self.config, []
        for net in NETS:
            try:
                self.build(net, config=config)
            except Exception:  # the check of networks reports the error
                continue
            nets.append(net)
            if self.quick:
                break
        if not nets:
            raise SkippedError("the rule builds on no network")
        return nets


def toy(sizes: Sequence[int] = (12, 12, 12), shape: tuple[int, ...] = (1, 8, 8)) -> list[Batch]:
    """Return batches of these sizes; pixels in [0, 1] are scattered around a pattern per class."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(CLASSES, *shape, generator=generator)
    batches = []
    for size in sizes:
        target = torch.arange(size) % CLASSES
        noise = torch.rand(size, *shape, generator=generator)
        batches.append(Batch(0.7 * patterns[target] + 0.3 * noise, target))
    return batches


def steps(rule: Rule, batches: Sequence[Batch], seed: int = 0, epochs: int = 1) -> Iterator[Step]:
    """Train every phase of the rule on these batches; yield each step when it is done."""
    updates = {group.name: Update(group, RECIPE) for group in rule.groups() if group.params}
    rule.attach(updates)
    for update in updates.values():
        update.rate(RECIPE.lr)
    randomness, index = Randomness(seed), 0
    rule.train()
    for epoch, phase in enumerate(phase for phase in rule.phases() for _ in range(epochs)):
        for position, batch in enumerate(batches):
            last = position == len(batches) - 1
            s = Step(randomness, index, epoch, phase=phase, last=last)
            prepared = rule.prepare(Batch(batch.x.clone(), batch.target.clone()), s)
            rule.step(prepared, s)
            rule.after_step(s)
            if "loss" not in s.logs:
                raise FailedError("the rule's step logs no loss: s.log('loss', …)")
            index += 1
            yield s


def train(rule: Rule, batches: Sequence[Batch], seed: int = 0, epochs: int = 1) -> Tensor:
    """Train as :func:`steps` does, and return the losses."""
    return torch.stack([s.logs["loss"].float() for s in steps(rule, batches, seed, epochs)])


def logits(rule: Rule, x: Tensor) -> Tensor:
    """Return the rule's logits in evaluation mode, in which it stays."""
    rule.eval()
    with torch.no_grad():
        return rule.predict(x.clone())


def weights(rule: Rule) -> dict[str, Any]:
    """Return a copy of the rule's state."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else value
        for name, value in rule.state_dict().items()
    }


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names under which two states are not equal bit for bit."""
    names = [*one, *(name for name in other if name not in one)]
    return [name for name in names if not _same(one.get(name), other.get(name))]


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = torch.equal(torch.isnan(one), torch.isnan(other))
        return same and torch.equal(one.nan_to_num(), other.nan_to_num())
    return bool(one == other)


def attempt(subject: Subject, net: Net) -> Rule | UsageError:
    """Return the rule on a network, or the error with which it refuses the network.

    Raises:
        FailedError: it refuses without a hint.
    """
    config = subject.config  # a wrong option is no refusal
    try:
        return subject.build(net, config=config)
    except UsageError as refusal:
        if not refusal.hint:
            raise FailedError(
                f"the rule refuses {net.label} without a hint: {refusal.message}"
            ) from refusal
        return refusal


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join the first names and count the others: ``a, b, c and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
