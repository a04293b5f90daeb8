"""lfnn: leader-follower network with the output loss and local losses."""

from __future__ import annotations

from lbench.config import param
from lbench.init import Init
from lbench_lfnn.config import GlobalConfig, UnitConfig
from lbench_lfnn.network import GlobalLeaderRule, UnitRule


class Lfnn(UnitRule, GlobalLeaderRule):
    """L = L_g + lambda1·L_lead + lambda2·L_fol (Yin et al. 2023, arXiv:2310.07885, Section 2).

    Leaders and the readout get the gradient of the output loss L_g, and leaders also that of
    their own cross-entropy. Followers get no gradient of L_g: they move their prediction towards
    that of the best leader. The gradients of local losses stop at the block's input. (A
    normalisation that mixes channels, such as group norm, mixes the gradients of leaders and
    followers too.)
    """

    class Config(UnitConfig, GlobalConfig):
        """Options of lfnn."""

        through_followers: bool = param(
            False,
            help="Pass the output error through a block's followers, if leadership leaves any, to "
            "the blocks below",
        )

    config: Lfnn.Config

    def build(self, init: Init) -> None:
        super().build(init)
        self.through_followers = self.config.through_followers
