"""The learning rate over a phase: a function of the step, so that resuming restores nothing."""

from __future__ import annotations

import math

from lbench.recipe import Recipe

WARM_UP = 0.3
START, END = 1 / 25, 1 / 25e4


def factor(recipe: Recipe, step: int, total: int) -> float:
    """Return the factor of the peak learning rate at ``step`` of ``total``, counted from 0.

    onecycle rises from 1/25 over 30 % of the steps and falls to 1/250,000, both along half a
    cosine (Smith & Topin 2018, with PyTorch's defaults and a constant momentum); cosine falls to
    0 at the end; step multiplies by ``gamma`` at each milestone.
    """
    if recipe.schedule == "cosine":
        return _cosine(1.0, 0.0, step / total)
    if recipe.schedule == "onecycle":
        top, end = WARM_UP * total - 1, total - 1
        if step <= top:
            return _cosine(START, 1.0, step / top if top else 1.0)
        return _cosine(1.0, END, (step - top) / (end - top) if end > top else 1.0)
    if recipe.schedule == "step":
        reached = sum(step >= share * total for share in recipe.milestones)
        return float(recipe.gamma**reached)
    return 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
