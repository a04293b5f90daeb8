"""Rules whose claims hold only at first, within epochs, or in most steps."""

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
    """No graph is cut in some steps."""

    def leaks(self, s: Step) -> bool:
        raise NotImplementedError

    def step(self, batch: Batch, s: Step) -> None:
        if self.leaks(s):
            super().step(batch, s)
        else:
            LocalRule.step(self, batch, s)


class FromSecondEpoch(Sometimes):
    """No graph is cut from the second epoch on."""

    def leaks(self, s: Step) -> bool:
        return s.epoch >= 1


class AtEpochEnd(Sometimes):
    """No graph is cut in the last step of an epoch."""

    def leaks(self, s: Step) -> bool:
        return s.last


class EveryFifth(Sometimes):
    """No graph is cut in every fifth step, counted from 1."""

    def leaks(self, s: Step) -> bool:
        return s.index % 5 == 4


class EveryFiftieth(Sometimes):
    """No graph is cut in every fiftieth step, except the first one."""

    def leaks(self, s: Step) -> bool:
        return s.index > 0 and s.index % 50 == 0


class Counting(Sometimes):
    """No graph is cut in every ``period``-th step of its own count with a random start."""

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
    """No graph is cut in every fiftieth step of its own count."""

    period = 50


class CountingFeedback(Fa):
    """Feedback alignment that uses the weights as feedback in every ``period``-th step."""

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
        saved = [layer.feedback.weight.clone() for layer in affine]
        with torch.no_grad():
            for layer in affine:
                layer.feedback.weight.copy_(layer.weight)
        super().step(batch, s)
        with torch.no_grad():
            for layer, value in zip(affine, saved, strict=True):
                layer.feedback.weight.copy_(value)

    def after_step(self, s: Step) -> None:
        self.count += 1


class AfterEpoch(Honest):
    """After the last step of an epoch every block makes a step of end-to-end backpropagation."""

    def prepare(self, batch: Batch, s: Step) -> Batch:
        self.saved = batch
        return batch

    def after_step(self, s: Step) -> None:
        if s.last:
            loss = self.task.loss(self.network(self.saved.x, s), self.saved.target)
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
"""Cheats that the audit on a small network finds: the rule, and a claim that is contradicted."""

COUNTED: dict[str, type[Rule]] = {
    "a leak in every fifth step, by a count of its own": Counting,
    "a leak in every fiftieth step, by a count of its own": CountingToFifty,
    "the weights as feedback in every fifth step, by a count of its own": CountingFeedback,
}
"""Cheats that only a run's own steps show, since the count of an audited copy differs."""
