"""leaders: the leaders of each step, and the gradient norms of leaders and followers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from lbench.probe import Column
from lbench.rule import Grads
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.probes.base import WorkersProbe, for_label, labels, owners


class Leaders(WorkersProbe):
    """The leaders of each step and block (counted in Figure 6 of Yin et al. 2023).

    arXiv:2310.07885. The gradient of a worker is that of the weights and biases of its units in
    the block's last layer, as the optimizer receives it. Norms are separate for leaders and
    followers only if leaders are not chosen per example.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "label": Column("int", "Class whose workers these are; None for workers of all classes"),
        "leads": Column("list[float]", "Share of the batch's examples that each worker led"),
        "leader_norm": Column("float", "Mean over leaders of the norm of a worker's gradient"),
        "follower_norm": Column("float", "Mean over followers; None if all workers lead"),
    }

    def begin(self) -> None:
        super().begin()
        names = {id(p): name for name, p in self.rule.named_parameters()}
        self.owners, self.blocks = [], {}
        for k, block in enumerate(self.rule.network.blocks):
            self.owners.append(owners(self.rule.workers[k], block))
            affine = block.layers[-1].affine
            for p in affine.weight, affine.bias:
                if p is not None:
                    self.blocks[names[id(p)]] = k

    def before_step(self, batch: Batch, s: Step) -> None:
        self.squares: dict[int, Tensor] = {}

    def at_update(self, group: str, grads: Grads) -> None:
        for name, grad in grads.items():
            if (k := self.blocks.get(name)) is not None:
                squares = grad.double().flatten(1) if grad.dim() > 1 else grad.double()[:, None]
                own = squares.square().sum(1).cpu()
                self.squares[k] = self.squares[k] + own if k in self.squares else own

    def after_step(self, batch: Batch, s: Step) -> None:
        for k, workers in enumerate(self.rule.workers):
            block_leads = self.leads(k, s)
            if block_leads is None:
                continue
            block_leads = block_leads.cpu()
            norms = torch.zeros(math.prod(workers.ranked), dtype=torch.float64)
            norms = norms.index_add(0, self.owners[k], self.squares[k]).sqrt().view(workers.ranked)
            for label in labels(workers):
                leads, norm = for_label(block_leads, label), for_label(norms, label)
                whole_batch = bool(((leads == 0) | (leads == 1)).all())
                self.record(
                    block=k,
                    label=label,
                    leads=leads,
                    leader_norm=_mean(norm[leads == 1]) if whole_batch else None,
                    follower_norm=_mean(norm[leads == 0]) if whole_batch else None,
                )


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
