"""Recipe: how a rule is optimised on a dataset and a network."""

from __future__ import annotations

from typing import Literal

from lbench.config import Options, param


class Recipe(Options):
    """Optimizer, learning rate, schedule, batch, decay and dropout; part of the fingerprint."""

    optimizer: Literal["adam", "adamw", "sgd"] = param("adam", help="Update from gradients")
    lr: float = param(1e-3, low=1e-8, high=100, log=True, help="Peak learning rate")
    weight_decay: float = param(0.0, low=0, high=10, help="L2 penalty (adamw: decoupled decay)")
    momentum: float = param(0.9, low=0, high=0.9999, help="Momentum of sgd")
    schedule: Literal["constant", "cosine", "onecycle", "step"] = param(
        "onecycle", help="Learning rate over a phase"
    )
    milestones: tuple[float, ...] = param(
        (0.5, 0.75, 0.9), help="Shares of the phase at which the step schedule decays"
    )
    gamma: float = param(0.25, low=1e-6, high=1, help="Factor of one decay of the step schedule")
    batch: int = param(128, low=1, help="Examples a step")
    dropout: float = param(0.0, low=0, high=0.95, help="Share of emitted activations set to 0")
