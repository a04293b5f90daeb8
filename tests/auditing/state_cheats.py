"""Rules that hide a broken claim in state or in a hard error, and similar honest rules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbench import Batch, Claims, Init, Network, RuleConfig, Step, View, spatial_mean
from lbench.rule import GradientRule, Grads, Rule
from tests.auditing.cheats import FixedFeedback, Honest


class HardFeedback(FixedFeedback):
    """A fixed matrix sends to each block which class the whole network chose wrongly."""

    def hard(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the chosen class minus the right one, (batch, classes)."""
        classes = logits.shape[1]
        chosen = nn.functional.one_hot(logits.argmax(1), classes)
        return (chosen - nn.functional.one_hot(target, classes)).to(logits.dtype)

    def step(self, batch: Batch, s: Step) -> None:
        with torch.no_grad():
            self.sent = self.hard(self.network(batch.x), batch.target)
        super().step(batch, s)
        del self.sent

    def loss(self, v: View, s: Step) -> Tensor:
        feedback_error = self.sent @ self.carried(v.k) / len(v.target)
        return super().loss(v, s) + (spatial_mean(v.h) * feedback_error).sum()


class SignFeedback(HardFeedback):
    """A fixed matrix sends whether the right class is ahead, as one sign per example."""

    def hard(self, logits: Tensor, target: Tensor) -> Tensor:
        own = logits.gather(1, target[:, None])
        rest = logits.scatter(1, target[:, None], -torch.inf).amax(1, keepdim=True)
        right = (rest - own).sign()
        return right.expand(-1, logits.shape[1])


class WhetherRight(HardFeedback):
    """Each block learns twice as much from the examples that the whole network has wrong."""

    def hard(self, logits: Tensor, target: Tensor) -> Tensor:
        return (logits.argmax(1) != target).to(logits.dtype)

    def loss(self, v: View, s: Step) -> Tensor:
        logits = self.heads[v.k](spatial_mean(v.h))
        losses = nn.functional.cross_entropy(logits, v.target, reduction="none")
        return ((1 + self.sent) * losses).mean()


class Differences(GradientRule):
    """Weights are perturbed at random, and the difference of two losses scales the update."""

    SIZE = 1e-3

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(transport="scalar", backward_depth=0, global_error="scalar")

    def gradients(self, batch: Batch, s: Step) -> Grads:
        params = self._trained
        with torch.no_grad():
            before = self.task.loss(self.network(batch.x), batch.target)
            v = {n: s.noise(n, p.shape).to(p.dtype) for n, p in params.items()}
            moved = {n: p + self.SIZE * v[n] for n, p in params.items()}
            after = self.task.loss(
                torch.func.functional_call(self, moved, (batch.x,)), batch.target
            )
        s.log("loss", before)
        slope = (after - before) / self.SIZE
        return {n: slope * losses for n, losses in v.items()}

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


class Traced(Honest):
    """Honest: each block keeps a trace of its activity beside its head, and writes it in its turn.

    Later steps draw its activity towards the trace.
    """

    def build(self, init: Init) -> None:
        super().build(init)
        for head, block in zip(self.heads, self.network.blocks, strict=True):
            head.register_buffer("trace", torch.zeros(2, block.width))

    def written(self, k: int) -> int:
        """Return the index of the block whose trace block ``k`` writes."""
        return k

    def loss(self, v: View, s: Step) -> Tensor:
        before = self.trace(v.k).clone()
        with torch.no_grad():
            rows = spatial_mean(v.h)
            self.trace(self.written(v.k)).mul_(0.9).add_(rows.mean(0), alpha=0.1)
        return super().loss(v, s) + 0.01 * (spatial_mean(v.h) - before[0]).square().mean()

    def trace(self, k: int) -> Tensor:
        """Return the trace of a block, (2, width)."""
        return self.heads[k].get_buffer("trace")


class TraceOfTheNext(Traced):
    """In its turn a block writes the trace of the next one."""

    def written(self, k: int) -> int:
        return min(k + 1, len(self.heads) - 1)


class TraceOfThePrevious(Traced):
    """In its turn a block writes the trace of the previous one, which uses it in the next step."""

    def written(self, k: int) -> int:
        return max(k - 1, 0)


class ListOfTheNext(Honest):
    """In its turn a block changes a list of tensors that the next one's head keeps."""

    def build(self, init: Init) -> None:
        super().build(init)
        for head in self.heads:
            head.kept = [torch.zeros(3)]  # type: ignore[assignment]

    def loss(self, v: View, s: Step) -> Tensor:
        following = self.heads[min(v.k + 1, len(self.heads) - 1)]
        following.kept[0] = v.h.detach().mean() * torch.ones(3)  # type: ignore[index,operator]
        return super().loss(v, s)


class NetworkInBuffers(FixedFeedback):
    """A second network, in buffers, is trained by backpropagation and adds to the prediction."""

    def build(self, init: Init) -> None:
        super().build(init)
        inputs = self.task.shape[0] * self.task.shape[1] * self.task.shape[2]
        self.keep("one", init.uniform("one", (24, inputs), 0.3))
        self.keep("two", init.uniform("two", (self.task.classes, 24), 0.2))

    def keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)

    def weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in ("one", "two")]

    def added(self, x: Tensor, one: Tensor, two: Tensor) -> Tensor:
        return (x.flatten(1) @ one.T).relu() @ two.T

    def predict(self, x: Tensor) -> Tensor:
        return super().predict(x) + self.added(x, *self.weights())

    def after_step(self, s: Step) -> None:
        params = [w.detach().requires_grad_() for w in self.weights()]
        loss = self.task.loss(self.added(self.batch.x, *params), self.batch.target)
        grads = torch.autograd.grad(loss, params)
        with torch.no_grad():
            for weight, g in zip(self.weights(), grads, strict=True):
                weight.sub_(g, alpha=0.1)
        del self.batch

    def prepare(self, batch: Batch, s: Step) -> Batch:
        self.batch = batch
        return batch


class NetworkInAttributes(NetworkInBuffers):
    """The second network is in a list of tensors."""

    def build(self, init: Init) -> None:
        self.hidden: list[Tensor] = []
        super().build(init)

    def keep(self, name: str, value: Tensor) -> None:
        self.hidden.append(value)

    def weights(self) -> list[Tensor]:
        return self.hidden


class Prototypes(Honest):
    """Class means in a buffer decide predictions: they are trained, but no update shows this."""

    means: Tensor

    def build(self, init: Init) -> None:
        super().build(init)
        inputs = self.task.shape[0] * self.task.shape[1] * self.task.shape[2]
        self.register_buffer("means", torch.zeros(self.task.classes, inputs))

    def prepare(self, batch: Batch, s: Step) -> Batch:
        with torch.no_grad():
            for row, label in zip(batch.x.flatten(1), batch.target, strict=True):
                self.means[label].lerp_(row, 0.1)
        return batch

    def predict(self, x: Tensor) -> Tensor:
        return super().predict(x) - 0.1 * torch.cdist(x.flatten(1), self.means)


class LabelTable(Honest):
    """Predictions are pushed towards the labels of the last batch, which are stored in a buffer."""

    table: Tensor

    def build(self, init: Init) -> None:
        super().build(init)
        self.register_buffer("table", torch.zeros(16, dtype=torch.long))

    def prepare(self, batch: Batch, s: Step) -> Batch:
        self.table[: len(batch.target)] = batch.target
        return batch

    def predict(self, x: Tensor) -> Tensor:
        logits = super().predict(x)
        pushed = nn.functional.one_hot(self.table[: len(x)], logits.shape[1])
        return logits + 0.1 * pushed


class ForeignMomentum(Honest):
    """In its turn a block damps the optimizer state of the first block."""

    def loss(self, v: View, s: Step) -> Tensor:
        if v.k and (first := getattr(self._updates["block0"], "optimizer", None)) is not None:
            for kept in first.state.values():
                for name in ("momentum_buffer", "exp_avg"):
                    if isinstance(kept.get(name), Tensor):
                        kept[name].mul_(0.5)
        return super().loss(v, s)


CHEATS: dict[str, tuple[type[Rule], str]] = {
    "writes into the next block's buffer": (TraceOfTheNext, "writes"),
    "writes into the previous block's buffer": (TraceOfThePrevious, "writes"),
    "writes into a list of the next block": (ListOfTheNext, "writes"),
    "labels kept in a buffer and read in predict": (LabelTable, "prediction"),
    "writes into another block's optimizer state": (ForeignMomentum, "writes"),
    "a hard error of the output, sent to the blocks": (HardFeedback, "global_error"),
}
"""By cheat: the rule, and a claim that its audit must contradict."""
HIDDEN: dict[str, type[Rule]] = {
    "a network trained in buffers": NetworkInBuffers,
    "a network trained in a list of tensors": NetworkInAttributes,
}
"""Cheats whose training is not measurable, so that the audit must call nothing absent."""
