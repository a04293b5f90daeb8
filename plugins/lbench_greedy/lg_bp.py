"""lg_bp: each block has the exact gradient of its own auxiliary loss."""

from __future__ import annotations

from typing import Literal

from lbench.config import param
from lbench.step import Phase
from lbench_greedy.greedy import Greedy
from lbench_greedy.heads import HeadConfig


class LgBp(Greedy):
    """Greedy training of all blocks at once, or of one after the other.

    At once: Ren et al. 2023, arXiv:2210.03310, LG-BP. One after the other, each frozen before the
    next begins: Belilovsky et al. 2019, arXiv:1812.11446, Algorithm 1, whose auxiliary problems
    have k hidden layers.
    """

    class Config(HeadConfig):
        """Options of lg_bp."""

        schedule: Literal["simultaneous", "sequential"] = param(
            "simultaneous", help="Blocks are trained at once, or each for its part of the budget"
        )

    config: LgBp.Config

    def phases(self) -> list[Phase]:
        """In sequence, a phase a block with equal shares.

        The readout, which is the last block's classifier in the paper, is trained beside that
        block: on detached features it changes nothing there, and needs no budget of its own.
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
