"""Rules that break one of their claims each, and the honest rule that they imitate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbench import Batch, Claims, Init, LocalRule, Network, RuleConfig, Step, View, spatial_mean
from lbench.rule import Rule, differentiate
from lbench_feedback.fa import Fa
from lbench_feedback.feedback import FeedbackConv2d, FeedbackLinear


class Honest(LocalRule):
    """Each block learns through a linear head of its own."""

    heads: nn.ModuleList

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth=network.block_depth,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        self.heads = nn.ModuleList(
            init.linear(f"head{k}", block.width, self.task.classes)
            for k, block in enumerate(self.network.blocks)
        )

    def loss(self, v: View, s: Step) -> Tensor:
        return self.task.loss(self.heads[v.k](spatial_mean(v.h)), v.target)


class FixedFeedback(Honest):
    """Honest too: each block receives its head's error through a fixed random matrix."""

    feedback: Tensor

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        depth = network.block_depth - 1
        return Claims(
            transport="full" if depth else "none",
            backward_depth=depth,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        super().build(init)
        for k, block in enumerate(self.network.blocks):
            matrix = init.uniform(f"feedback{k}", (self.task.classes, block.width), 0.3)
            self.register_buffer(f"feedback{k}", matrix)

    def error(self, v: View) -> Tensor:
        """Return the error of a head, (batch, classes), without a graph."""
        with torch.no_grad():
            p = self.heads[v.k](spatial_mean(v.h)).softmax(1)
            p[torch.arange(len(p)), v.target] -= 1
            return p / len(p)

    def carried(self, k: int) -> Tensor:
        """Return the matrix through which a block receives its error, (classes, width)."""
        matrix: Tensor = getattr(self, f"feedback{k}")
        return matrix

    def loss(self, v: View, s: Step) -> Tensor:
        own = self.task.loss(self.heads[v.k](spatial_mean(v.h.detach())), v.target)
        feedback_error = self.error(v) @ self.carried(v.k)
        return own + (spatial_mean(v.h) * feedback_error).sum()


class ForgottenDetach(Honest):
    """A block's input keeps its graph, so a block's loss reaches all earlier blocks."""

    def step(self, batch: Batch, s: Step) -> None:
        x, losses = batch.x, []
        for k, block in enumerate(self.network.blocks):
            z = block.preactivation(x, s)
            h = self.activate(k, z)
            losses.append(self.loss(View(k, batch.x, x, z, h, batch.target), s))
            x = block.emit(h, s)
        total = torch.stack(losses).sum()
        for k in range(len(losses)):
            self.update(f"block{k}", differentiate(total, self._groups[f"block{k}"], keep=True))
        self.train_readout(x.detach(), batch.target, s)


class SeparateOptimizers(Honest):
    """Each block has its own optimizer and its own loss, but no graph is cut between blocks."""

    def step(self, batch: Batch, s: Step) -> None:
        x = batch.x
        losses = []
        for k, block in enumerate(self.network.blocks):
            h = self.activate(k, block.preactivation(x, s))
            losses.append(self.task.loss(self.heads[k](spatial_mean(h)), batch.target))
            x = block.emit(h, s)
        losses.append(self.task.loss(self.network.readout(x), batch.target))
        s.log("loss", losses[-1].detach())
        names = [*(f"block{k}" for k in range(len(losses) - 1)), "readout"]
        grads: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for loss in losses:  # loss.backward() for each, into the same .grad
            for name in names:
                for param, g in differentiate(loss, self._groups[name], keep=True).items():
                    grads[name][param] = grads[name].get(param, torch.zeros_like(g)) + g
        for name in names:
            self.update(name, grads[name])


class HiddenLoss(Honest):
    """A thousandth of the end-to-end gradient is added to the local one."""

    def step(self, batch: Batch, s: Step) -> None:
        whole = self.task.loss(self.network(batch.x, s), batch.target)
        params = {n: p for group in self._groups.values() for n, p in group.items()}
        self.hidden = differentiate(whole, params)
        super().step(batch, s)

    def update(self, group: str, grads: object) -> None:
        assert isinstance(grads, dict)
        more = {n: g + 0.001 * self.hidden[n] if n in self.hidden else g for n, g in grads.items()}
        super().update(group, more)


class RefreshedCopy(FixedFeedback):
    """The fixed matrices are overwritten with the heads' weights after every step."""

    def after_step(self, s: Step) -> None:
        with torch.no_grad():
            for k in range(len(self.network.blocks)):
                self.carried(k).copy_(self.heads[k].weight)


class RefreshedTranspose(Fa):
    """Feedback alignment whose feedback is a copy of the weights, made after every step."""

    def after_step(self, s: Step) -> None:
        with torch.no_grad():
            for layer in self.network.layers[1:]:
                assert isinstance(layer.affine, FeedbackLinear | FeedbackConv2d)
                layer.affine.feedback.weight.copy_(layer.affine.weight)


class LabelsInPredict(Honest):
    """Predictions are pushed towards the labels of the last batch that was trained on."""

    def prepare(self, batch: Batch, s: Step) -> Batch:
        self.seen = batch.target
        return batch

    def predict(self, x: Tensor) -> Tensor:
        logits = super().predict(x)
        seen = getattr(self, "seen", None)
        if seen is not None and len(seen) == len(x):
            logits = logits + 0.1 * nn.functional.one_hot(seen, logits.shape[1])
        return logits


class GlobalGenerator(Honest):
    """The local loss reads a noisy activation; the noise is drawn from the global generator."""

    def loss(self, v: View, s: Step) -> Tensor:
        noisy = v.h + 0.1 * torch.randn_like(v.h)
        return self.task.loss(self.heads[v.k](spatial_mean(noisy)), v.target)


class ForeignWrite(Honest):
    """In its turn a block shrinks the weights of the next one in place."""

    def loss(self, v: View, s: Step) -> Tensor:
        blocks = self.network.blocks
        if v.k + 1 < len(blocks):
            with torch.no_grad():
                blocks[v.k + 1].layers[0].affine.weight.mul_(0.999)
        return super().loss(v, s)


class SharedNorm(Honest):
    """All layers share one normalisation, whose scale and shift every block's loss trains."""

    def build(self, init: Init) -> None:
        super().build(init)
        layers = [block.layers[-1] for block in self.network.blocks]
        norm = nn.GroupNorm(1, layers[0].width)
        for layer in layers:
            layer.norm = norm


class LateLeak(ForgottenDetach):
    """No graph is cut from the second step on."""

    def step(self, batch: Batch, s: Step) -> None:
        if s.index == 0:
            LocalRule.step(self, batch, s)
        else:
            super().step(batch, s)


class OtherBatchSize(ForgottenDetach):
    """No graph is cut, except on batches of the sizes with which audits begin."""

    def step(self, batch: Batch, s: Step) -> None:
        if len(batch.target) in (2, 7):
            LocalRule.step(self, batch, s)
        else:
            super().step(batch, s)


class EveryOtherStep(ForgottenDetach):
    """No graph is cut in every second step."""

    def step(self, batch: Batch, s: Step) -> None:
        if s.index % 2 == 0:
            LocalRule.step(self, batch, s)
        else:
            super().step(batch, s)


CHEATS: dict[str, tuple[type[Rule], str]] = {
    "a forgotten detach": (ForgottenDetach, "backward_depth"),
    "separate optimizers without detach": (SeparateOptimizers, "backward_depth"),
    "a hidden end-to-end loss of weight 0.001": (HiddenLoss, "global_error"),
    "a transposed copy of the head, refreshed every step": (RefreshedCopy, "transport"),
    "a transposed copy of the next block's weights, refreshed every step": (
        RefreshedTranspose,
        "transport",
    ),
    "labels read in predict": (LabelsInPredict, "prediction"),
    "the global generator": (GlobalGenerator, "randomness"),
    "in-place writes into another block": (ForeignWrite, "writes"),
    "a leak through a shared normalisation": (SharedNorm, "writes"),
    "a leak from the second step on": (LateLeak, "update_locked"),
    "a leak in every other step": (EveryOtherStep, "update_locked"),
    "a leak at other batch sizes": (OtherBatchSize, "update_locked"),
}
"""By cheat: the rule, and a claim that its audit must contradict."""
