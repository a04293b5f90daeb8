"""The choice of leaders, by the workers' losses on a batch, example or epoch, or at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbench.step import Step
from lbench_lfnn.workers import Choice, Workers


class Selection(nn.Module):
    """The choice of a block's leaders, which also logs the share of examples that each one leads.

    Args:
        k: index of the block.
        workers: the workers of the block.
    """

    epoch_losses: Tensor
    running: Tensor

    def __init__(self, k: int, workers: Workers) -> None:
        super().__init__()
        self.k = k
        self.workers = workers
        self.by = workers.config.selection
        self.by_epoch = self.by in ("epoch", "first_epoch")
        if self.by_epoch:
            self.register_buffer("epoch_losses", torch.zeros(workers.ranked))
            self.register_buffer("running", torch.zeros(workers.ranked))

    def choose(self, y: Tensor, target: Tensor, s: Step) -> Choice:
        """Choose leaders among the workers that predict ``y`` (batch, classes, workers).

        Selection by epoch uses the summed losses of the previous epoch, or of the first one; in
        the first epoch it uses those of each batch. If leaders are drawn at random, the best
        leader is the one of lowest loss on the batch.
        """
        losses = self.workers.losses(y, target)
        if self.by != "example":
            losses = s.mean(losses)
        if self.by_epoch:
            s.log(f"worker_loss/{self.k}", losses)
            losses = self.epoch_losses if s.epoch > 0 else losses
        if self.by == "random":
            draw = s.noise(f"leaders/{self.k}", losses.shape, "uniform")
            leads = self.workers.rank(draw.to(losses.dtype)).leads
            choice = Choice(leads, torch.where(leads > 0, losses, torch.inf).argmin(-1))
        else:
            choice = self.workers.rank(losses)
        s.log(f"leaders/{self.k}", s.mean(choice.leads))
        if self.workers.config.reference == "random":
            draw = s.noise(f"reference/{self.k}", choice.leads.shape, "uniform")
            # Draws are in [0, 1), so the largest sum is always a leader's.
            choice = choice._replace(model=(draw + choice.leads).argmax(-1))
        return choice

    def after_step(self, s: Step) -> None:
        """Add up the losses of the epoch; at its end they become those that later epochs use."""
        losses = s.logs.get(f"worker_loss/{self.k}")
        if not self.by_epoch or losses is None or (self.by == "first_epoch" and s.epoch > 0):
            return
        self.running += losses
        if s.last:
            self.epoch_losses.copy_(self.running)
            self.running.zero_()


def selections(workers: list[Workers]) -> nn.ModuleList:
    """Return one selection per block, for the workers of each block."""
    return nn.ModuleList(Selection(k, block_workers) for k, block_workers in enumerate(workers))
