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
from lbench_bp.memory import Part, twice


class Bp(GradientRule):
    """Reverse-mode gradient of the task's loss (Rumelhart, Hinton & Williams 1986).

    Two options save memory and change no gradient: each block's activations are made again on the
    way back (Chen et al. 2016, arXiv:1604.06174), or a batch is run in parts whose gradients are
    averaged by size. With BatchNorm a part is normalised by its own statistics.
    """

    class Config(RuleConfig):
        """Options of bp."""

        checkpoint: bool = param(
            False,
            searched=False,
            help="Keep the blocks' inputs alone, and run each block again on the way back",
        )
        accumulate: int = param(
            1,
            low=1,
            searched=False,
            help="Parts of a batch, run one after the other; none has a single example",
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
                context_fn=partial(twice, block),
            )  # fmt: skip
        return self.task.loss(self.network.readout(x), batch.target)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        size = len(batch.x)
        # BatchNorm may not be able to train on a part of one example.
        parts = min(self.config.accumulate, size // 2)
        if parts <= 1:
            return super().gradients(batch, s)
        total: dict[str, Tensor] = {}
        losses, start = [], 0
        for x, target in zip(
            batch.x.tensor_split(parts), batch.target.tensor_split(parts), strict=True
        ):
            rows = slice(start, start := start + len(x))
            loss = self.loss(Batch(x, target), Part(s, rows, size)) * (len(x) / size)
            losses.append(loss.detach())
            for name, grad in differentiate(loss, self._trained).items():
                total[name] = total[name].add_(grad) if name in total else grad
        s.log("loss", sum(losses[1:], losses[0]))
        return total
