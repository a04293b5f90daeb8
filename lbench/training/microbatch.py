"""Microbatches: the parts of a batch that run one after the other and make one update."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lbench.auditing.copies import twin
from lbench.errors import UsageError
from lbench.randomness import Kind
from lbench.rule import Grads, Rule
from lbench.step import Step
from lbench.task import Batch

HINT = "Leave out --microbatch."
FEW, MORE = 2, 3
"""Numbers of examples in two steps whose noise is compared."""


class Microbatches:
    """Training steps in parts of at most ``size`` examples.

    Each part prepares its examples and gets their rows of the whole batch's noise. Gradients and
    logs are averaged over the parts, weighted by the number of examples, before an optimizer gets
    them. So a step stores the activations of one part at a time. ``microbatch_check`` says for
    which rules the update is that of the whole batch. A batch that is not larger than a part runs
    as a whole.

    Args:
        size: the largest number of examples in a part.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rows: dict[str, int] = {}  # noise rows per example, by stream
        self._observed: set[object] = set()

    def first(self, batch: Batch) -> Batch:
        """Return the first part of a batch."""
        whole = len(batch.target) <= self.size
        return batch if whole else Batch(batch.x[: self.size], batch.target[: self.size])

    def step(self, rule: Rule, batch: Batch, s: Step) -> None:
        """Make a training step, with the rule's ``prepare`` and ``after_step``.

        Raises:
            UsageError: the rule does something that cannot be done in parts.
        """
        if len(batch.target) <= self.size:
            rule.step(rule.prepare(batch, s), s)
        else:
            self._observe_noise(rule, batch, s)
            means = self._means(rule, batch, s)
            s.logs.update(means.logs)
            for group, grads in means.grads.items():
                rule.update(group, grads)
        rule.after_step(s)

    def _means(self, rule: Rule, batch: Batch, s: Step) -> _Means:
        """Return the means of the gradients and logs over all parts; no parameter changes."""
        examples = len(batch.target)
        updates, means = rule._updates, _Means()
        rule.attach({group: partial(means.add, group) for group in updates})
        try:
            for start in range(0, examples, self.size):
                rows = slice(start, min(start + self.size, examples))
                part = _PartStep(s, rows, examples, self._rows)
                means.begin((rows.stop - start) / examples)
                rule.step(rule.prepare(Batch(batch.x[rows], batch.target[rows]), part), part)
                means.add_logs(part.logs)
        finally:
            rule.attach(updates)
        return means

    def _observe_noise(self, rule: Rule, batch: Batch, s: Step) -> None:
        """Find out which noise has rows per example, once for each phase and kind of step."""
        kind = s.phase, s.epoch > 0, s.last
        if kind not in self._observed:
            with _disable_current_modes():  # no part of the step's memory and operations
                self._rows |= noise_rows(rule, batch, s)
            self._observed.add(kind)


def noise_rows(rule: Rule, batch: Batch, s: Step) -> dict[str, int]:
    """Return for each stream of noise in a step its rows per example; 0 for noise that is shared.

    The size of the first dimension cannot tell: that of a weight may be the number of examples in
    a part. So copies of the rule make the step on two and on three examples.

    Args:
        rule: the rule, which does not change.
        batch: at least one example.
        s: the step.

    Raises:
        UsageError: noise depends on the number of examples in another way.
    """
    fewer, more = (_noise_shapes(rule, batch, s, count) for count in (FEW, MORE))
    rows = {}
    for stream in fewer | more:
        one, other = fewer.get(stream), more.get(stream)
        if one == other:
            rows[stream] = 0
        elif one and other and one[0] / FEW == other[0] / MORE and one[1:] == other[1:]:
            rows[stream] = one[0] // FEW
        else:
            raise UsageError(
                f"Noise {stream!r} cannot be divided among microbatches: its shape is "
                f"{_shape(one)} for {FEW} examples and {_shape(other)} for {MORE}.",
                HINT,
            )
    return rows


def _noise_shapes(rule: Rule, batch: Batch, s: Step, count: int) -> dict[str, tuple[int, ...]]:
    copy = twin(rule)
    copy.attach({group.name: lambda grads: None for group in copy.groups()})
    rows = torch.arange(count, device=batch.target.device) % len(batch.target)
    observed = _ObservedStep(s)
    copy.step(copy.prepare(Batch(batch.x[rows], batch.target[rows]), observed), observed)
    return observed.shapes


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else "x".join(map(str, shape)) or "scalar"


class _Means:
    """Means of gradients and logs over the parts of a batch."""

    def __init__(self) -> None:
        self.grads: dict[str, dict[str, Tensor]] = {}  # by group and parameter
        self.logs: dict[str, Tensor] = {}
        self._share = 0.0
        self._updated: set[str] = set()

    def begin(self, share: float) -> None:
        """Begin a part that has this share of the examples."""
        self._share = share
        self._updated.clear()

    def add(self, group: str, grads: Grads) -> None:
        """Add the gradients of a part to the means.

        Raises:
            UsageError: the part has updated the group before.
        """
        if group in self._updated:
            raise UsageError(
                f"Group {group!r} is updated more than once in a step: the second update needs "
                "the weights after the first one, which microbatches do not have.",
                HINT,
            )
        self._updated.add(group)
        with torch.no_grad():
            _add(self.grads.setdefault(group, {}), grads, self._share)

    def add_logs(self, logs: Grads) -> None:
        """Add what a part has logged."""
        _add(self.logs, logs, self._share)


def _add(means: dict[str, Tensor], values: Grads, share: float) -> None:
    for name, value in values.items():
        if name in means:
            means[name].add_(value, alpha=share)
        else:  # a new tensor: a rule may pass one tensor under several names
            means[name] = value * share


class _DerivedStep(Step):
    """A step at the position of another one, with logs of its own."""

    __slots__ = ()

    def __init__(self, s: Step) -> None:
        super().__init__(
            s.randomness, s.index, s.epoch, phase=s.phase, last=s.last, train=s.train,
            device=s.device,
        )  # fmt: skip


class _PartStep(_DerivedStep):
    """The step of some rows of a batch, with their rows of the whole batch's noise.

    Args:
        s: the step of the whole batch.
        part: the rows.
        examples: number of examples in the batch.
        rows: noise rows per example, by stream.
    """

    __slots__ = ("examples", "part", "rows")

    def __init__(self, s: Step, part: slice, examples: int, rows: dict[str, int]) -> None:
        super().__init__(s)
        self.part = part
        self.examples = examples
        self.rows = rows

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        """Return the part's rows of the whole batch's noise, or the noise that is shared."""
        if stream not in self.rows:
            raise UsageError(
                f"Noise {stream!r} is new in step {self.index + 1}: whether each example has noise "
                "of its own is determined in the first steps of the run and of each phase.",
                HINT,
            )
        times = self.rows[stream]
        if not times:
            return super().noise(stream, shape, kind)
        # A rule may repeat its examples, for example as positives and negatives.
        whole = super().noise(stream, (times * self.examples, *shape[1:]), kind)
        own = whole.view(times, self.examples, *shape[1:])[:, self.part]
        # A view would keep the noise of the whole batch in memory.
        return own.clone(memory_format=torch.contiguous_format).view(shape)


class _ObservedStep(_DerivedStep):
    """A step that records the shapes of its noise by stream."""

    __slots__ = ("shapes",)

    def __init__(self, s: Step) -> None:
        super().__init__(s)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        """Return noise as every step does, and record its shape.

        Raises:
            UsageError: the step has drawn this stream with another shape.
        """
        if self.shapes.setdefault(stream, tuple(shape)) != tuple(shape):
            raise UsageError(
                f"Noise {stream!r} is drawn with several shapes in a step, so that it cannot be "
                "divided among microbatches.",
                HINT,
            )
        return super().noise(stream, shape, kind)
