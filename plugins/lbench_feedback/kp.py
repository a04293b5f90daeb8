"""kp: Kolen-Pollack learning, where feedback weights get the increments and decay of weights."""

from __future__ import annotations

from lbench.init import Init
from lbench.recipe import Recipe
from lbench.rule import Grads
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.fa import Fa


class Kp(Fa):
    """fa whose B is trained with the gradient and the decay of W.

    W <- (1 - d) W + A and B <- (1 - d) B + A, so B - W shrinks by the factor 1 - d in every step,
    and B converges to W without reading it (Kolen & Pollack 1994; Akrout et al. 2019,
    arXiv:1904.05391). A is the optimizer's update for the gradient. W and B get the same A if the
    decay does not pass through the optimizer's state: with adamw, where d = lr * weight_decay,
    and with sgd, whose momentum turns B - W into a damped oscillation. The decay of Adam is part
    of the gradient, which Adam normalises separately for W and B, so B need not converge to W.
    """

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return adamw with weight decay: without decay B - W would not shrink."""
        return default.model_copy(update={"optimizer": "adamw", "weight_decay": 0.1})

    def build(self, init: Init) -> None:
        super().build(init)
        for affine in self.maps.values():
            affine.feedback.weight.requires_grad_()
        names = {id(p): name for name, p in self.named_parameters()}
        self.twins = {  # name of B to name of W
            names[id(affine.feedback.weight)]: names[id(affine.weight)]
            for affine in self.maps.values()
        }

    def gradients(self, batch: Batch, s: Step) -> Grads:
        grads = super().gradients(batch, s)
        return {**grads, **{b: grads[w] for b, w in self.twins.items()}}
