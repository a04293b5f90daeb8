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
from lbench.task import Batch, Task


class LfnnLV1(LocalRule):
    """Each block learns from its own trained head; a layer of gated workers precedes the output.

    This is the rule of the notebooks of github.com/Belis0811/LFNN, folder LFNN-BPfree, for any
    network (Yin et al. 2023, arXiv:2310.07885, whose text describes another rule, ``lfnn_l``):

    - Each block minimises the cross-entropy of a linear head on its flattened output.
    - W workers predict p_w = softmax(relu(z_w)), and a gate g = sigmoid(M p + b) weights them.
    - The output layer replaces the readout. It receives all g_w·p_w and learns from its own
      cross-entropy.
    - All workers, leaders or not, minimise their mean cross-entropy. The code normalises g_w·p_w
      over the classes in its loss, which cancels an aligned gate and leaves the loss of p_w.
    - A pair of an example and a worker leads if its loss is among the lowest ``leadership`` of
      the whole batch. Leading only decides what the gate learns to predict, in ``gate_steps``
      updates per step at twice the learning rate.

    Three mistakes of that code are not repeated: its gate is tiled class by class over values
    that are stored worker by worker, one shift of a BatchNorm is never trained, and one Adam
    counts the steps of all groups and of every update of the gate. The code declares L1 penalties
    and does not add them; they are absent here too.
    """

    class Config(RuleConfig):
        """Options of lfnn_l_v1."""

        leadership: float = param(
            0.7, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0),
            help="Share of pairs (example, worker) that lead; at least one does",
        )  # fmt: skip
        workers: int = param(4, low=1, help="Workers in front of the output, one score per class")
        gate_steps: int = param(4, low=1, help="Updates of the gate per step")

    config: LfnnLV1.Config

    @classmethod
    def per_block(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, list[int]]:
        """Return the workers behind the last block; leaders are pairs with examples."""
        workers = cast(LfnnLV1.Config, config).workers
        return {"workers": [0] * (len(network.blocks) - 1) + [workers]}

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        all_lead = cast(LfnnLV1.Config, config).leadership == 1
        return Claims(
            transport="full",
            backward_depth=network.block_depth,
            update_locked=False,
            global_error="none",
            couples=network.couples if all_lead else "rows",
        )

    def build(self, init: Init) -> None:
        classes, count = self.task.classes, self.config.workers
        shapes = self.network.shapes(self.task.shape)
        features = 0
        self.heads = nn.ModuleList()
        self.network.eval()  # so that a normalisation in emit keeps its statistics
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
        """Return groups of each block with its head, the workers, the gate and the output layer."""
        *blocks, readout = super().groups()
        workers = Group("workers", trained(self.workers, "workers."))
        gate = Group("gate", trained(self.gate, "gate."), lr=2.0)
        return [*blocks, workers, gate, readout]

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        """Train the block and its head, and return the block's output from the same pass."""
        emitted: Tensor = self.network.blocks[k](x, s)
        loss = F.cross_entropy(self.heads[k](emitted.flatten(1)), batch.target)
        self.update(f"block{k}", differentiate(loss, self._groups[f"block{k}"]))
        return emitted.detach()

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        """Train the output layer, the workers and the gate on the results of one forward pass."""
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
        """Map the last block's output to the workers' relu(z), (batch, workers, classes)."""
        z = self.workers(x.flatten(1))
        logits: Tensor = F.relu(z).view(-1, self.config.workers, self.task.classes)
        return logits

    def gated(self, p: Tensor) -> Tensor:
        """Multiply probabilities (batch, workers, classes) by each worker's gate, and flatten."""
        gate: Tensor = self.gate(p.flatten(1)).sigmoid()
        return (p * gate[:, :, None]).flatten(1)

    def leads(self, losses: Tensor, s: Step) -> Tensor:
        """Return which pairs (batch, workers) have a loss up to the whole batch's percentile.

        The percentile is the loss of the nearest rank, with halves rounded to even, as in the
        released code.
        """
        ordered = s.gather(losses).flatten().sort().values
        last = round(round(self.config.leadership * (len(ordered) - 1), 9))
        return losses <= ordered[last]
