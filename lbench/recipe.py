"""Recipe: optimizer, learning rate and related options of a rule, a dataset and a network."""

from __future__ import annotations

from typing import Any, Literal, Self

import pydantic

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
    batch: int = param(128, low=1, help="Examples per step")
    dropout: float = param(0.0, low=0, high=0.95, help="Share of emitted activations set to 0")

    @pydantic.model_validator(mode="after")
    def _milestones_are_shares(self) -> Self:
        inside = all(0 < share < 1 for share in self.milestones)
        if not inside or list(self.milestones) != sorted(self.milestones):
            given = ",".join(f"{share:g}" for share in self.milestones)
            raise ValueError(f"milestones must rise between 0 and 1, but got {given}")
        return self

    def effective(self) -> dict[str, Any]:
        """Return the options with an effect: momentum with sgd, milestones with schedule step."""
        return self.model_dump(mode="json", exclude=set(idle(self)))


def idle(recipe: Recipe) -> dict[str, tuple[str, str]]:
    """Return the options that the others leave without effect, each with a reason and a hint."""
    reasons = {}
    if recipe.optimizer != "sgd":
        reasons["momentum"] = (
            f"the optimizer is {recipe.optimizer}, and only sgd takes a momentum",
            "Leave it out, or train with optimizer sgd.",
        )
    if recipe.schedule != "step":
        for name in ("milestones", "gamma"):
            reasons[name] = (
                f"the schedule is {recipe.schedule}, and only step has milestones",
                "Leave it out, or train with schedule step.",
            )
    return reasons
