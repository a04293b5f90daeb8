"""Options that leader-follower rules share; each default is the text of the paper."""

from __future__ import annotations

from typing import Literal

from lbench.config import RuleConfig, param


class LeaderConfig(RuleConfig):
    """Options of the choice of leaders, and of what followers copy."""

    leadership: float = param(
        0.7, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0),
        help="Share of a block's workers that lead; at least one does",
    )  # fmt: skip
    selection: Literal["batch", "example", "epoch", "first_epoch", "random"] = param(
        "batch",
        help="When leaders are chosen: per batch, example or epoch; once, by the losses of the "
        "first epoch; or at random in each step. It acts if leadership leaves followers",
    )
    rounding: Literal["round", "floor", "ceil"] = param(
        "round", help="Rounding of leadership times workers; at least one worker leads"
    )
    leader_loss: Literal["mean", "sum"] = param("mean", help="Reduction over the leaders")
    follow: Literal["probabilities", "logits"] = param(
        "probabilities", help="What followers copy from their reference, if leadership leaves any"
    )
    reference: Literal["best", "random", "mean"] = param(
        "best", help="Worker that followers copy: the best leader, a random leader, or their mean"
    )


class GlobalConfig(LeaderConfig):
    """Weights of the local losses relative to the output loss."""

    lambda1: float = param(1.0, low=0.0, search=(0.0, 100.0), help="Weight of the leader loss")
    lambda2: float = param(
        1.0, low=0.0, search=(0.0, 100.0),
        help="Weight of the follower loss, if leadership leaves followers",
    )  # fmt: skip


class UnitConfig(LeaderConfig):
    """Options of workers whose units are logits."""

    forward: Literal["softmax", "relu_softmax", "relu"] = param(
        "softmax",
        help="Output of fully connected workers: softmax of z, softmax of relu(z) (which they then "
        "predict with, too), or relu(z). Convolutions always have relu(z)",
    )
    units: int = param(
        1,
        low=1,
        help="Units (channels) per worker and class, whose mean is the score; not with workers",
    )
    workers: int | None = param(
        None, low=1,
        help="Workers per block, for many classes: groups of its channels (units), pooled to one "
        "mean per class; none: a worker has `units` channels per class",
    )  # fmt: skip
