"""The options that leader-follower rules share; each default is the paper's text."""

from __future__ import annotations

from typing import Literal

from lbench.config import RuleConfig, param


class LeaderConfig(RuleConfig):
    """Who leads, and what is learned from whom."""

    leadership: float = param(
        0.7, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0),
        help="Share of a block's workers that lead; at least one does",
    )  # fmt: skip
    selection: Literal["batch", "example", "epoch", "first_epoch", "random"] = param(
        "batch",
        help="Leaders are chosen anew for each batch, example or epoch; by the losses of the first "
        "epoch, for the whole run; or drawn in each step",
    )
    rounding: Literal["round", "floor", "ceil"] = param(
        "round", help="From leadership times workers to a whole number, at least 1"
    )
    leader_loss: Literal["mean", "sum"] = param("mean", help="Reduction over the leaders")
    follow: Literal["probabilities", "logits"] = param(
        "probabilities", help="What followers copy from their reference"
    )
    reference: Literal["best", "random", "mean"] = param(
        "best", help="Whom followers copy: best leader, a random one, or the leaders' mean"
    )


class GlobalConfig(LeaderConfig):
    """What the local losses weigh beside an output loss."""

    lambda1: float = param(1.0, low=0.0, search=(0.0, 100.0), help="Weight of the leader loss")
    lambda2: float = param(1.0, low=0.0, search=(0.0, 100.0), help="Weight of the follower loss")


class UnitConfig(LeaderConfig):
    """How units become workers that need no readout."""

    forward: Literal["softmax", "relu_softmax", "relu"] = param(
        "softmax",
        help="What fully connected workers pass on: softmax of z, softmax of relu(z) (then also "
        "what they predict from), or relu(z). Convolutions always pass on their relu map",
    )
    units: int = param(
        1, low=1, help="Units (channels) a worker has for each class; their mean is its score"
    )
