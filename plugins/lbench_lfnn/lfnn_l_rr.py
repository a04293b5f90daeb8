"""lfnn_l_rr: lfnn_l whose workers predict through fixed random readouts."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import nn

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.task import Task
from lbench_lfnn.config import LeaderConfig
from lbench_lfnn.network import LocalLeaderRule, couples
from lbench_lfnn.workers import ReadoutWorkers
from lbench_local_loss.rand_local import RandLocal
from lbench_local_loss.readouts import ReadoutConfig, Readouts


class LfnnLRr(LocalLeaderRule):
    """The workers of a block have many units each, and minimise L_lead + lam·L_fol.

    Worker w has M units and predicts y_w = softmax(scale · A_w f(h_w)), where A_w is random and
    never trained. Leaders and followers learn as in ``lfnn_l`` (Yin et al. 2023,
    arXiv:2310.07885, Section 2), and the block's activation is relu(z). A worker whose units are
    its logits solves a convex problem; these workers do not. With one worker per block, which
    leads, the rule is ``rand_local`` (Mostafa et al. 2018, arXiv:1711.06756).
    """

    class Config(LeaderConfig, ReadoutConfig):
        """Options of lfnn_l_rr."""

        workers: int = param(5, low=1, help="Workers per block, which share its units equally")
        scale: float = param(
            8.0, low=0.25, high=64.0, log=True, help="Factor on a readout's logits"
        )
        lam: float = param(
            1.0, low=0.0, search=(0.0, 100.0),
            help="Weight of the follower loss (λ), if leadership leaves followers",
        )  # fmt: skip

    config: LfnnLRr.Config
    trained_readouts: ClassVar[bool] = False

    @classmethod
    def worker_counts(cls, config: RuleConfig, network: Network, task: Task) -> list[int]:
        return [cast(LfnnLRr.Config, config).workers] * len(network.blocks)

    @classmethod
    def effective(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, Any]:
        acting = super().effective(config, network, task)
        if not any(block.convolutional for block in network.blocks):
            del acting["pool"]
        return acting

    @classmethod
    def remedy(cls, option: str, config: RuleConfig, network: Network, task: Task) -> str:
        if option == "pool":
            return "It acts on blocks with feature maps."
        if cast(LfnnLRr.Config, config).workers == 1:
            return "A single worker always leads: add --set workers=5."
        return super().remedy(option, config, network, task)

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        options = cast(LfnnLRr.Config, config)
        depth = network.block_depth - (not cls.trained_readouts)
        return Claims(
            transport="full" if depth else "none",
            backward_depth=depth,
            update_locked=False,
            global_error="none",
            couples=couples(options, network, options.workers),
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        return RandLocal.recipe(default, dataset, network)

    def build(self, init: Init) -> None:
        shapes = self.network.shapes(self.task.shape)
        readouts = [
            Readouts(
                init,
                block.name,
                shapes[block.layers[-1].name],
                self.task.classes,
                self.config,
                workers=self.config.workers,
                trained=self.trained_readouts,
            )
            for block in self.network.blocks
        ]
        self.readouts = nn.ModuleList(readouts)
        self.workers = [
            ReadoutWorkers(block, block_readouts, self.config)
            for block, block_readouts in zip(self.network.blocks, readouts, strict=True)
        ]
        self.weights = (1.0, self.config.lam)
        super().build(init)
