"""Rules that are what they claim for a while: at first, within epochs, or in most steps."""

from __future__ import annotations

import torch
from torch import Tensor

from lbench import Batch, Init, LocalRule, Step
from lbench.data.digits import Digits
from lbench.rule import Rule, differentiate
from lbench_feedback.fa import Fa
from lbench_feedback.feedback import FeedbackConv2d, FeedbackLinear
from tests.auditing.cheats import FixedFeedback, ForgottenDetach, Honest


class StaleCopy(FixedFeedback):
    """The fixed matrices are overwritten with the heads' weights at the end of every epoch."""

    def after_step(self, s: Step) -> None:
        if s.last:
            with torch.no_grad():
                for k in range(len(self.network.blocks)):
                    self.carried(k).copy_(self.heads[k].weight)


class StaleTranspose(Fa):
    """Feedback alignment that copies the weights into its feedback at the end of every epoch."""

    def after_step(self, s: Step) -> None:
        if s.last:
            with torch.no_grad():
                for layer in self.network.layers[1:]:
                    assert isinstance(layer.affine, FeedbackLinear | FeedbackConv2d)
                    layer.affine.feedback.weight.copy_(layer.affine.weight)


class Sometimes(ForgottenDetach):
    """Nothing is cut in some steps."""

    def leaks(self, s: Step) -> bool:
        raise NotImplementedError

    def step(self, batch: Batch, s: Step) -> None:
        if self.leaks(s):
            super().step(batch, s)
        else:
            LocalRule.step(self, batch, s)


class FromSecondEpoch(Sometimes):
    """Nothing is cut from the second epoch on."""

    def leaks(self, s: Step) -> bool:
        return s.epoch >= 1


class AtEpochEnd(Sometimes):
    """Nothing is cut in the last step of an epoch."""

    def leaks(self, s: Step) -> bool:
        return s.last


class EveryFifth(Sometimes):
    """Nothing is cut in every fifth step, counted from 1."""

    def leaks(self, s: Step) -> bool:
        return s.index % 5 == 4


class EveryFiftieth(Sometimes):
    """Nothing is cut in every fiftieth step, but for the first one."""

    def leaks(self, s: Step) -> bool:
        return s.index > 0 and s.index % 50 == 0


class Counting(Sometimes):
    """Nothing is cut in every ``period``-th step, by a count of its own that begins anywhere."""

    period = 5
    count: Tensor

    def build(self, init: Init) -> None:
        super().build(init)
        start = init.uniform("count", (1,), 0.5).add(0.5).mul(self.period)
        self.register_buffer("count", start.long())

    def leaks(self, s: Step) -> bool:
        return int(self.count) % self.period == 0

    def after_step(self, s: Step) -> None:
        self.count += 1


class CountingToFifty(Counting):
    """The same in every fiftieth step."""

    period = 50


class CountingFeedback(Fa):
    """Feedback alignment whose every ``period``-th step has the weights themselves as feedback."""

    period = 5
    count: Tensor

    def build(self, init: Init) -> None:
        super().build(init)
        start = init.uniform("count", (1,), 0.5).add(0.5).mul(self.period)
        self.register_buffer("count", start.long())

    def step(self, batch: Batch, s: Step) -> None:
        if int(self.count) % self.period:
            super().step(batch, s)
            return
        affine = [layer.affine for layer in self.network.layers[1:]]
        kept = [each.feedback.weight.clone() for each in affine]
        with torch.no_grad():
            for each in affine:
                each.feedback.weight.copy_(each.weight)
        super().step(batch, s)
        with torch.no_grad():
            for each, value in zip(affine, kept, strict=True):
                each.feedback.weight.copy_(value)

    def after_step(self, s: Step) -> None:
        self.count += 1


class AfterEpoch(Honest):
    """Behind the last step of an epoch every block takes a step of end-to-end backpropagation."""

    def prepare(self, batch: Batch, s: Step) -> Batch:
        self.kept = batch
        return batch

    def after_step(self, s: Step) -> None:
        if s.last:
            loss = self.task.loss(self.network(self.kept.x, s), self.kept.target)
            names = [f"block{k}" for k in range(len(self.network.blocks))]
            for at, name in enumerate(names):
                keep = at < len(names) - 1
                self.update(name, differentiate(loss, self._groups[name], keep=keep))


class ReadsTestSet(Honest):
    """At the end of an epoch it trains its readout on the examples of the test set."""

    def after_step(self, s: Step) -> None:
        if s.last:
            test = Digits().load().test
            x = torch.from_numpy(test.images).float() / 255
            with torch.no_grad():
                for block in self.network.blocks:
                    x = block.emit(block.activate(block.preactivation(x, s)), s)
            loss = self.task.loss(self.network.readout(x), torch.from_numpy(test.labels))
            self.update("readout", differentiate(loss, self._groups["readout"]))


CHEATS: dict[str, tuple[type[Rule], str]] = {
    "a copy of the head, refreshed every epoch": (StaleCopy, "transport"),
    "a copy of the next block's weights, refreshed every epoch": (StaleTranspose, "transport"),
    "a leak from the second epoch on": (FromSecondEpoch, "update_locked"),
    "a leak in the last step of an epoch": (AtEpochEnd, "update_locked"),
    "a leak in every fifth step": (EveryFifth, "update_locked"),
    "a leak in every fiftieth step": (EveryFiftieth, "update_locked"),
    "backpropagation behind the last step of an epoch": (AfterEpoch, "update_locked"),
}
"""What the audit on a small network finds, and a claim that is contradicted."""

COUNTED: dict[str, type[Rule]] = {
    "a leak in every fifth step, by a count of its own": Counting,
    "a leak in every fiftieth step, by a count of its own": CountingToFifty,
    "the weights as feedback in every fifth step, by a count of its own": CountingFeedback,
}
"""What only a run's own steps can show: the count of a copy that is audited is another one."""
