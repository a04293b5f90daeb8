"""lfnn_l_v1: the first released code of lfnn_l."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.rule import Group, LocalRule, differentiate, trained
from lbench.step import Step
from lbench.task import Batch


class LfnnLV1(LocalRule):
    """Blocks learn from a trained head each; one layer of gated workers stands before the output.

    The notebooks of github.com/Belis0811/LFNN, folder LFNN-BPfree, for any network (Yin et al.
    2023, arXiv:2310.07885; its text describes another rule, ``lfnn_l``):

    - a block minimises the cross-entropy of a linear head on what it passes on, flattened;
    - W workers predict p_w = softmax(relu(z_w)), and a gate g = sigmoid(M p + b) weighs them;
    - the output layer, in the place of the readout, reads all g_w·p_w and learns from its own
      cross-entropy;
    - all workers, leaders or not, minimise their mean cross-entropy. The code's loss, which
      normalises g_w·p_w over the classes, cancels an aligned gate: it is that of p_w;
    - a pair of an example and a worker leads if its loss is among the lowest ``leadership`` of
      the whole batch. Leading decides nothing but what the gate learns to foretell, which it
      does ``gate_steps`` times a step at twice the learning rate.

    Mistakes of that code which are not repeated: the gate is tiled class by class over values
    that lie worker by worker, one shift of a BatchNorm is never trained, and one Adam counts the
    steps of all groups and of every update of the gate. L1 penalties, which it declares and does
    not add, are absent here too.
    """

    class Config(RuleConfig):
        """Options of lfnn_l_v1."""

        leadership: float = param(
            0.7, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0),
            help="Share of pairs (example, worker) that lead; at least one does",
        )  # fmt: skip
        workers: int = param(4, low=1, help="Workers of one score a class before the output")
        gate_steps: int = param(4, low=1, help="Updates of the gate a step")

    config: LfnnLV1.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        everyone_leads = cast(LfnnLV1.Config, config).leadership == 1
        return Claims(
            transport="full",
            backward_depth=network.block_depth,
            update_locked=False,
            global_error="none",
            couples=network.couples if everyone_leads else "rows",
        )

    def build(self, init: Init) -> None:
        classes, count = self.task.classes, self.config.workers
        shapes = self.network.shapes(self.task.shape)
        features = 0
        self.heads = nn.ModuleList()
        self.network.eval()  # a norm in emit keeps its statistics
        for block in self.network.blocks:
            features = block.emit(torch.zeros(1, *shapes[block.layers[-1].name])).numel()
            self.heads.append(init.linear(f"head.{block.name}", features, classes))
        self.network.train()
        self.workers = init.linear("workers", features, count * classes)
        self.gate = init.linear("gate", count * classes, count)
        self.network.readout = init.linear(  # type: ignore[assignment]
            "output", count * classes, classes
        )

    def groups(self) -> list[Group]:
        """Blocks with their heads, then the workers, their gate, and the output layer."""
        *blocks, readout = super().groups()
        workers = Group("workers", trained(self.workers, "workers."))
        gate = Group("gate", trained(self.gate, "gate."), lr=2.0)
        return [*blocks, workers, gate, readout]

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        """The head reads what the block passes on, which is made once a step."""
        passed_on: Tensor = self.network.blocks[k](x, s)
        loss = F.cross_entropy(self.heads[k](passed_on.flatten(1)), batch.target)
        self.update(f"block{k}", differentiate(loss, self._groups[f"block{k}"]))
        return passed_on.detach()

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        """Trains output layer, workers and gate, all on what one forward pass gave."""
        logits = self.logits(x)
        p = logits.detach().softmax(2)
        output = self.task.loss(self.network.readout(self.gated(p).detach()), target)
        s.log("loss", output.detach())
        self.update("readout", differentiate(output, self._groups["readout"]))

        labels = target[:, None].expand(-1, self.config.workers)
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        self.update("workers", differentiate(losses.mean(), self._groups["workers"]))

        leads = self.leads(losses.detach(), s).to(p.dtype)
        for _ in range(self.config.gate_steps):
            loss = F.binary_cross_entropy_with_logits(self.gate(p.flatten(1)), leads)
            self.update("gate", differentiate(loss, self._groups["gate"]))

    def predict(self, x: Tensor) -> Tensor:
        for k, block in enumerate(self.network.blocks):
            x = block.emit(self.activate(k, block.preactivation(x)))
        logits: Tensor = self.network.readout(self.gated(self.logits(x).softmax(2)))
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """What the last block passes on to relu(z), (batch, workers, classes)."""
        z = self.workers(x.flatten(1))
        logits: Tensor = F.relu(z).view(-1, self.config.workers, self.task.classes)
        return logits

    def gated(self, p: Tensor) -> Tensor:
        """Probabilities (batch, workers, classes) times their worker's gate, flattened."""
        gate: Tensor = self.gate(p.flatten(1)).sigmoid()
        return (p * gate[:, :, None]).flatten(1)

    def leads(self, losses: Tensor, s: Step) -> Tensor:
        """Return which pairs (batch, workers) lose no more than the whole batch's percentile.

        The percentile is the loss of the nearest rank, halves to the even one, as in the code.
        """
        ordered = s.gather(losses).flatten().sort().values
        last = round(round(self.config.leadership * (len(ordered) - 1), 9))
        return losses <= ordered[last]
