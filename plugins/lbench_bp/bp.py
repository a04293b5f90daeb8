"""bp: the exact gradient of the output loss."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.network import Network
from lbench.rule import GradientRule, Grads, differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_bp.memory import PartStep, checkpoint_contexts


class Bp(GradientRule):
    """Reverse-mode gradient of the task's loss (Rumelhart, Hinton & Williams 1986).

    Two options save memory. ``checkpoint`` recomputes each block's activations in the backward
    pass (Chen et al. 2016, arXiv:1604.06174). ``accumulate`` runs a batch in parts and averages
    their gradients, weighted by size. Neither changes the gradient, except that BatchNorm
    normalises each part by the part's own statistics.
    """

    class Config(RuleConfig):
        """Options of bp."""

        checkpoint: bool = param(
            False,
            searched=False,
            help="Store only the inputs of blocks, and recompute each block in the backward pass",
        )
        accumulate: int = param(
            1,
            low=1,
            searched=False,
            help="Number of parts that a batch is run in; each part has at least two examples",
        )

    config: Bp.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth="full",
            update_locked=True,
            global_error="vector",
            couples=network.couples,
        )

    def loss(self, batch: Batch, s: Step) -> Tensor:
        if not self.config.checkpoint:
            return self.task.loss(self.network(batch.x, s), batch.target)
        x = batch.x
        for block in self.network.blocks:
            x = checkpoint(
                block, x, s, use_reentrant=False, preserve_rng_state=False,
                context_fn=partial(checkpoint_contexts, block),
            )  # fmt: skip
        return self.task.loss(self.network.readout(x), batch.target)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        size = len(batch.x)
        # BatchNorm cannot always train on a part of one example.
        parts = min(self.config.accumulate, size // 2)
        if parts <= 1:
            return super().gradients(batch, s)
        total: dict[str, Tensor] = {}
        losses, start = [], 0
        for x, target in zip(
            batch.x.tensor_split(parts), batch.target.tensor_split(parts), strict=True
        ):
            rows = slice(start, start := start + len(x))
            loss = self.loss(Batch(x, target), PartStep(s, rows, size)) * (len(x) / size)
            losses.append(loss.detach())
            for name, grad in differentiate(loss, self._trained).items():
                total[name] = total[name].add_(grad) if name in total else grad
        s.log("loss", sum(losses[1:], losses[0]))
        return total
