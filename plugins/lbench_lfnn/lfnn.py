"""lfnn: leader-follower network with the output loss and local losses."""

from __future__ import annotations

from lbench.config import param
from lbench.init import Init
from lbench_lfnn.config import GlobalConfig, UnitConfig
from lbench_lfnn.network import GlobalLeaderRule, UnitRule


class Lfnn(UnitRule, GlobalLeaderRule):
    """L = L_g + lambda1·L_lead + lambda2·L_fol (Yin et al. 2023, Section 2, LFNN).

    Leaders and the readout get the gradient of the output loss L_g, leaders that of their own
    cross-entropy too. Followers get no part of L_g: they move their prediction towards the best
    leader's. The local losses stop at the block's input. (A normalisation that mixes channels, as
    group norm does, mixes leaders' and followers' gradients too.)
    """

    class Config(UnitConfig, GlobalConfig):
        """Options of lfnn."""

        through_followers: bool = param(
            False, help="The output error passes through a block's followers to the blocks below"
        )

    config: Lfnn.Config

    def build(self, init: Init) -> None:
        super().build(init)
        self.through_followers = self.config.through_followers
