"""lg_bp: each block follows the exact gradient of its own auxiliary loss."""

from __future__ import annotations

from typing import Literal

from lbench.config import param
from lbench.step import Phase
from lbench_greedy.greedy import Greedy
from lbench_greedy.heads import HeadConfig


class LgBp(Greedy):
    """Greedy training of all blocks at once, or of one after the other.

    Training at once is LG-BP of Ren et al. 2023, arXiv:2210.03310. In sequence, each block is
    frozen before the next begins, as in Belilovsky et al. 2019, arXiv:1812.11446, Algorithm 1,
    whose auxiliary problems have k hidden layers.
    """

    class Config(HeadConfig):
        """Options of lg_bp."""

        schedule: Literal["simultaneous", "sequential"] = param(
            "simultaneous", help="Train all blocks at once, or each for its share of the budget"
        )

    config: LgBp.Config

    def phases(self) -> list[Phase]:
        """Return one phase, or in sequence one phase per block with equal shares of the budget.

        The readout, which is the last block's classifier in the paper, is trained together with
        that block: on detached features it does not change the block, and needs no budget.
        """
        if self.config.schedule == "simultaneous":
            return super().phases()
        names = [f"block{k}" for k in range(len(self.network.blocks))]
        trained = [{name} for name in names]
        trained[-1].add("readout")
        return [
            Phase(name, groups=frozenset(groups))
            for name, groups in zip(names, trained, strict=True)
        ]
