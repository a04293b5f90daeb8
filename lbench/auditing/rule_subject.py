"""Rules as subjects of an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lbench.auditing.copies import Copy, Original
from lbench.auditing.repeats import repeated, unchanged
from lbench.auditing.schedule import StepPosition, position
from lbench.auditing.subject import LR, Signals, Subject, SubjectReplica, Unit, moved_bits
from lbench.auditing.use_tracer import untraced
from lbench.randomness import Kind, Randomness
from lbench.rule import Grads, Group, LocalRule, Rule, View
from lbench.step import Phase, Step
from lbench.task import Batch

MakeStep = Callable[[int, Phase | None], "ShardStep"]


class RuleReplica(SubjectReplica):
    """A copy of a rule; its updates are plain gradient steps that are recorded.

    Args:
        copy: the copy of the rule.
        make_step: function from index and phase to the ``Step`` that the rule receives.
    """

    def __init__(self, copy: Copy, make_step: MakeStep) -> None:
        (self.rule,) = copy.objects
        super().__init__(self.rule.train())
        rule = self.rule
        self._copy = copy
        self._make_step = make_step
        self._signals = Signals()
        self._known: dict[str, Tensor] = {}
        self._names: dict[int, list[str]] = {}  # a tied parameter has several
        for name, p in self.params.items():
            self._names.setdefault(id(p), []).append(name)
        rule.attach({group.name: Updater(self, group) for group in rule.groups()})

    @untraced
    def update(self, updater: Updater, grads: Grads) -> None:
        """Make an update and record its gradients."""
        self._record_writes(f"before the update of {updater.name}")
        for name, grad in grads.items():
            self._signals.add(name, grad)
        updater.step({self.params[name]: grad for name, grad in grads.items()})
        for name in grads:
            value = self.params[name].detach().clone()
            self._known.update(dict.fromkeys(self._names[id(self.params[name])], value))

    def _step(self, index: int, batch: Batch, phase: Phase | None) -> Signals:
        rule, s = self.rule, self._make_step(index, phase)
        s.rows = len(batch.target)
        self._signals = Signals()
        self._known = self.values()
        with self._copy.inside():
            rule.step(rule.prepare(batch, s), s)
            rule.after_step(s)
        self._record_writes("outside of every update")
        return self._signals

    @untraced
    def _record_writes(self, when: str) -> None:
        """Record parameters that have changed outside of an update."""
        for name, value in self.params.items():
            if moved_bits(value, self._known[name]):
                self.conduct.note(name, when)
                self._known[name] = value.detach().clone()

    def logits(self, x: Tensor) -> Tensor:
        """Return the rule's own prediction."""
        with self._copy.inside():
            logits: Tensor = self.rule.predict(x)
        return logits

    def turns(self) -> Mapping[str, Callable[..., str]]:
        """Return the methods that a rule which trains block by block calls for one block."""
        if not isinstance(self.rule, LocalRule):
            return {}
        by_index = dict.fromkeys(("train_block", "frozen_block", "activate"), _block)
        by_view = dict.fromkeys(("loss", "cotangent"), _viewed)
        return {**by_index, **by_view, "train_readout": lambda *args: "readout"}


def _block(k: int, *args: Any) -> str:
    return f"block{k}"


def _viewed(v: View, *args: Any) -> str:
    return f"block{v.k}"


class Updater:
    """A replacement for the optimizer of a group that a rule uses.

    Args:
        replica: the copy that records the updates.
        group: the group of parameters.
    """

    def __init__(self, replica: RuleReplica, group: Group) -> None:
        self.replica = replica
        self.name = group.name
        self.params = dict(group.params)
        self.optimizer = PlainSteps(list(self.params.values())) if self.params else None

    def __call__(self, grads: Grads) -> None:
        """Make one update."""
        self.replica.update(self, grads)

    def step(self, grads: Mapping[nn.Parameter, Tensor]) -> None:
        """Change the parameters along their gradients."""
        own = {id(p) for p in self.params.values()}
        for p, grad in grads.items():
            if id(p) in own:
                p.grad = grad.detach()
            else:  # a parameter of another group
                p.data.sub_(grad.detach(), alpha=LR)
        if self.optimizer is not None:
            self.optimizer.step()
        for p in grads:
            p.grad = None


class PlainSteps(torch.optim.Optimizer):
    """Plain gradient steps, with the running means that SGD and Adam keep in their state."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__(params, {"lr": LR})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group without PyTorch's own method, which imports the compiler."""
        self.param_groups.append({**self.defaults, **param_group})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step of the parameters that have a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(p.grad, alpha=LR)
                    self._mean(self.state[p], p.grad)

    @staticmethod
    def _mean(state: dict[str, Tensor], grad: Tensor) -> None:
        square = grad.square()
        if state:
            state["exp_avg"].lerp_(grad, 0.1)
            state["exp_avg_sq"].lerp_(square, 0.1)
        else:
            state["exp_avg"] = state["momentum_buffer"] = grad.clone()
            state["exp_avg_sq"] = square


class RuleSubject(Subject):
    """A rule, of which only copies are run.

    Args:
        rule: the original.
        x: inputs, (rows, channels, height, width).
        target: labels, (rows,).
        seed: seed of the run's randomness.
        positions: function from the number of a step, from 0, to its position in the run.
        dtype: type of the copies' floating-point tensors; None for the rule's own.
    """

    def __init__(
        self,
        rule: Rule,
        x: Tensor,
        target: Tensor,
        *,
        seed: int = 0,
        positions: Callable[[int], StepPosition] = position,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(type(rule).__name__, units(rule), list(rule.phases()), x, target)
        self.rule = rule
        # Options and task cannot change; the optimizers of a run are not copied.
        self._original = Original(
            {"rule": rule},
            excluded=(rule.config, rule.task),
            replaced=((rule._updates, {}),),
            dtype=dtype,
        )
        self.randomness = Randomness(seed)
        self.positions = positions
        self.used: set[str] = set()
        layers = {f"{layer.name}.": layer for layer in rule.network.layers}
        self._labels = {
            name: next((label for label, layer in layers.items() if layer is module), "")
            for name, module in rule.named_modules()
        }

    def label(self, name: str) -> str:
        """Return a name that starts with the layer's own: ``fc1.weight``, ``conv2.norm.bias``."""
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            if own := self._labels.get(".".join(parts[:end])):
                rest = [part for part in parts[end:] if part != "affine"]
                return (own + ".".join(rest)).rstrip(".")
        return name.replace("network.readout.linear", "readout")

    def replica(self) -> RuleReplica:
        """Return a copy of the rule."""
        return self.shard(0, 1)

    def shard(self, index: int, count: int) -> RuleReplica:
        """Return a copy whose noise is that of a part of the batch."""
        return RuleReplica(self._original.copy(), partial(self._step, index, count))

    def _step(self, shard: int, shards: int, index: int, phase: Phase | None) -> ShardStep:
        return ShardStep(self, shard, shards, self.positions(index), phase)

    def check(self) -> None:
        """Check that two copies of the rule repeat each other.

        Raises:
            UsageError: they do not, or the rule changes something that was not copied.
        """
        with unchanged(self._original, self):
            repeated(self, self._original)

    def coupling(self) -> str:
        """Return rows, or mean where means over the batch (``s.mean``, BatchNorm) explain it."""
        means = "mean" in self.used or self.rule.network.couples == "mean"
        return "mean" if means and "gather" not in self.used else "rows"

    @property
    def norm_by_batch(self) -> bool:
        """Return whether the network has BatchNorm."""
        return self.rule.network.couples == "mean"


class ShardStep(Step):
    """The step of one of several equal parts of a batch, with its rows of the whole batch's noise.

    Args:
        subject: records which ways of coupling examples are used.
        shard: index of the part, from 0.
        shards: number of parts.
        position: position in the run; noise is addressed by its index.
        phase: phase of training.
    """

    __slots__ = ("rows", "shard", "shards", "subject")

    def __init__(
        self,
        subject: RuleSubject,
        shard: int,
        shards: int,
        position: StepPosition,
        phase: Phase | None,
    ) -> None:
        super().__init__(
            subject.randomness,
            position.index,
            position.epoch,
            phase=phase,
            last=position.last,
            device=subject.x.device,
        )
        self.subject = subject
        self.shard = shard
        self.shards = shards
        self.rows = 0

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        """Return the part's rows of the whole batch's noise."""
        if self.shards == 1 or not shape or shape[0] % self.rows:
            return super().noise(stream, shape, kind)
        # A rule may repeat its batch, for example as positives and negatives.
        times = shape[0] // self.rows
        whole = super().noise(stream, (times * self.rows * self.shards, *shape[1:]), kind)
        parts = whole.view(times, self.shards, self.rows, *shape[1:])
        return parts[:, self.shard].reshape(shape)

    def mean(self, t: Tensor) -> Tensor:
        """Average as every step does, and record the use."""
        self.subject.used.add("mean")
        return super().mean(t)

    def gather(self, t: Tensor) -> Tensor:
        """Gather as every step does, and record the use."""
        self.subject.used.add("gather")
        return super().gather(t)


def units(rule: Rule) -> list[Unit]:
    """Return the blocks with their auxiliary modules, the rule's other modules, and the readout."""
    blocks = rule.network.blocks
    lists = [
        name
        for name, child in rule.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == len(blocks)
    ]
    parameters = rule.named_parameters(remove_duplicate=False)
    names = [name for name, p in parameters if p.requires_grad]
    by_unit: dict[str, list[str]] = {f"block{k}": [] for k in range(len(blocks))}
    for name in names:
        first, second, *rest = [*name.split("."), "", ""]
        if (first, second) == ("network", "blocks"):
            unit = f"block{rest[0]}"
        elif first in lists:
            unit = f"block{second}"
        elif (first, second) == ("network", "readout"):
            unit = "readout"
        else:
            unit = first
        by_unit.setdefault(unit, []).append(name)
    if "readout" in by_unit:
        by_unit["readout"] = by_unit.pop("readout")
    return [Unit(name, params) for name, params in by_unit.items() if params]
