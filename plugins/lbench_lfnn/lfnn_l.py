"""lfnn_l: leader-follower network with local losses only."""

from __future__ import annotations

from typing import cast

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench_lfnn.config import UnitConfig
from lbench_lfnn.network import LocalLeaderRule, UnitRule, couples


class LfnnL(UnitRule, LocalLeaderRule):
    """Each block minimises L_lead + lam·L_fol on its detached input, the readout the output loss.

    The workers of lowest cross-entropy lead and minimise it. The others follow: they move their
    prediction towards that of the best leader (LFNN-l as described in the text of Yin et al.
    2023, arXiv:2310.07885, Section 2).
    """

    class Config(UnitConfig):
        """Options of lfnn_l."""

        lam: float = param(
            1.0, low=0.0, search=(0.0, 100.0),
            help="Weight of the follower loss (λ), if leadership leaves followers",
        )  # fmt: skip

    config: LfnnL.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        options = cast(LfnnL.Config, config)
        depth = network.block_depth - 1
        return Claims(
            transport="full" if depth else "none",
            backward_depth=depth,
            update_locked=False,
            global_error="none",
            couples=couples(options, network, options.workers),
        )

    def build(self, init: Init) -> None:
        super().build(init)
        self.weights = (1.0, self.config.lam)
