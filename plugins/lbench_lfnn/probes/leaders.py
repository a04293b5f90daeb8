"""leaders: who led in each step, and how large leaders' and followers' gradients are."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from lbench.probe import Column
from lbench.rule import Grads
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.probes.watching import WorkersProbe, labels, of, owners


class Leaders(WorkersProbe):
    """Who led, in each step and block (Yin et al. 2023, arXiv:2310.07885, Figure 6, counts it).

    The gradient of a worker is that of the weights and biases of its units in the block's last
    map, as it was handed to the optimizer. Leaders' and followers' are apart only where leaders
    are not chosen for each example.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "label": Column("int", "Class whose workers these are; None for workers of all classes"),
        "leads": Column("list[float]", "Share of the batch's examples that each worker led"),
        "leader_norm": Column("float", "Mean over leaders of the norm of a worker's gradient"),
        "follower_norm": Column("float", "The same over followers; None where there are none"),
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
            leads = self.leads(k, s)
            if leads is None:
                continue
            leads = leads.cpu()
            norms = torch.zeros(math.prod(workers.ranked), dtype=torch.float64)
            norms = norms.index_add(0, self.owners[k], self.squares[k]).sqrt().view(workers.ranked)
            for label in labels(workers):
                led, norm = of(leads, label), of(norms, label)
                whole = bool(((led == 0) | (led == 1)).all())
                self.record(
                    block=k,
                    label=label,
                    leads=led,
                    leader_norm=_mean(norm[led == 1]) if whole else None,
                    follower_norm=_mean(norm[led == 0]) if whole else None,
                )


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
