"""The base class of rules that train blocks greedily."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.network import Network
from lbench.rule import LocalRule, View
from lbench.step import Step
from lbench_greedy.heads import HeadConfig, heads


class Greedy(LocalRule):
    """Each block and its auxiliary classifier minimise the task's loss on the detached input.

    With sg the stop-gradient operator, block j minimises CE(aux_j(f_j(sg(h_{j-1}))), t) over the
    parameters of f_j and aux_j.
    """

    Config = HeadConfig
    config: HeadConfig

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            backward_depth=network.block_depth - 1 + cast(HeadConfig, config).depth,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        self.heads = heads(self.network, self.task, self.config, init)

    def loss(self, v: View, s: Step) -> Tensor:
        loss = self.task.loss(self.heads[v.k](v.h), v.target)
        s.log("loss", loss.detach())  # the readout's loss replaces this one
        return loss
