"""lfnn_online: binary leader-follower networks, one a class, of single sigmoid units."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lbench.config import param
from lbench.init import Init
from lbench.recipe import Recipe
from lbench_lfnn.binary import BinaryWorkers
from lbench_lfnn.config import GlobalConfig
from lbench_lfnn.network import GlobalLeaderRule
from lbench_lfnn.stacked import stack


class LfnnOnline(GlobalLeaderRule):
    """``lfnn`` one-vs-all: each class has a network of its own that tells it from the others.

    Class k's network has W single sigmoid units in a hidden layer, its workers, and one output
    unit. It minimises L = L_g + lambda1·L_lead + lambda2·L_fol, with L_g and the workers' losses
    binary cross-entropies to "is it class k?", and the sum over the classes is trained at once
    (Yin et al. 2023, arXiv:2310.07885, Figures 3 to 5: one pass over pixel-permuted MNIST, as
    gated linear networks do it, Veness et al. 2019, arXiv:1910.01526). A sum, since
    then no network's loss depends on how many classes there are.

    Leaders are those of lowest loss in their own class's network; they and the output unit get
    the gradient of L_g, followers do not. The predicted class is that of the largest output,
    which the paper does not say.
    """

    class Config(GlobalConfig):
        """Options of lfnn_online."""

        leadership: float = param(
            0.3, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0),
            help="Share of a network's workers that lead; at least one does",
        )  # fmt: skip

    config: LfnnOnline.Config

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """The paper's Adam at 0.005; it gives no batch but a small one, and no schedule."""
        update = {"optimizer": "adam", "lr": 5e-3, "schedule": "constant", "batch": 20}
        return default.model_copy(update={**update, "dropout": 0.0})

    def build(self, init: Init) -> None:
        classes = self.task.classes
        stack(self.network, classes, init)
        self.workers = [
            BinaryWorkers(block.width, classes, self.config) for block in self.network.blocks
        ]
        super().build(init)

    def output_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy, averaged over the batch and added over the classes."""
        own = F.one_hot(target, self.task.classes).to(logits.dtype)
        entropy = F.binary_cross_entropy_with_logits(logits, own, reduction="sum")
        return entropy / len(target)
