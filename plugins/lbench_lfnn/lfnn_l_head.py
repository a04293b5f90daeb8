"""lfnn_l_head: lfnn_l whose workers predict through trained linear heads."""

from __future__ import annotations

from typing import ClassVar

from lbench.config import param
from lbench.rule import LocalRule
from lbench_lfnn.lfnn_l_rr import LfnnLRr


class LfnnLHead(LfnnLRr):
    """``lfnn_l_rr`` with trained readouts, which also have a bias.

    Each head learns from its worker's loss: that of a leader from the cross-entropy, that of a
    follower from the distance to the best leader (losses of Yin et al. 2023, arXiv:2310.07885,
    Section 2; its released code has one head per block). With one worker per block, which leads,
    the rule is ``lg_bp``.
    """

    class Config(LfnnLRr.Config):
        """Options of lfnn_l_head."""

        scale: float = param(1.0, low=0.25, high=64.0, log=True, help="Factor on a head's logits")

    config: LfnnLHead.Config
    trained_readouts: ClassVar[bool] = True

    # A trained head behind z needs the gradient of the loss by autograd.
    cotangent = LocalRule.cotangent  # type: ignore[assignment]
