"""lfnn_online: one binary leader-follower network of single sigmoid units per class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.task import Task
from lbench_lfnn.binary import BinaryWorkers
from lbench_lfnn.block_diagonal import split_by_class
from lbench_lfnn.config import GlobalConfig
from lbench_lfnn.network import GlobalLeaderRule


class LfnnOnline(GlobalLeaderRule):
    """``lfnn`` one-vs-all: each class has its own network, which separates it from the others.

    The network of class k has W single sigmoid units in each hidden layer, its workers, and one
    output unit. It minimises L = L_g + lambda1·L_lead + lambda2·L_fol, where L_g and the workers'
    losses are binary cross-entropies for "the example is of class k". All classes are trained at
    once, on the sum of their losses, so that the loss of a network does not depend on the number
    of classes (Yin et al. 2023, arXiv:2310.07885, Figures 3 to 5: one pass over pixel-permuted
    MNIST, as in gated linear networks, Veness et al. 2019, arXiv:1910.01526).

    Leaders have the lowest losses in the network of their own class. They and the output unit get
    the gradient of L_g; followers do not. The predicted class is that of the largest output; the
    paper does not define it.
    """

    class Config(GlobalConfig):
        """Options of lfnn_online."""

        leadership: float = param(
            0.3, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0),
            help="Share of the workers of a class that lead; at least one does",
        )  # fmt: skip

    config: LfnnOnline.Config

    @classmethod
    def worker_counts(cls, config: RuleConfig, network: Network, task: Task) -> list[int]:
        """Return the number of workers of each class, per block."""
        return [block.width // task.classes for block in network.blocks]

    @classmethod
    def per_block(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, list[int]]:
        numbers = super().per_block(config, network, task)
        return {f"{name} of each class": row for name, row in numbers.items()}

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return the paper's Adam at 0.005, and a small batch; it gives no size and no schedule."""
        update = {"optimizer": "adam", "lr": 5e-3, "schedule": "constant", "batch": 20}
        return default.model_copy(update={**update, "dropout": 0.0})

    def build(self, init: Init) -> None:
        classes = self.task.classes
        split_by_class(self.network, classes, init)
        self.workers = [
            BinaryWorkers(block.width, classes, self.config) for block in self.network.blocks
        ]
        super().build(init)

    def output_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the binary cross-entropy, a mean over the batch and a sum over the classes."""
        own = F.one_hot(target, self.task.classes).to(logits.dtype)
        entropy = F.binary_cross_entropy_with_logits(logits, own, reduction="sum")
        return entropy / len(target)
