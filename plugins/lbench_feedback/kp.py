"""kp: Kolen-Pollack learning, feedback weights that get the increments and decay of the weights."""

from __future__ import annotations

from lbench.init import Init
from lbench.recipe import Recipe
from lbench.rule import Grads
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.fa import Fa


class Kp(Fa):
    """fa whose B is trained: its gradient is that of W, and so is its decay.

    W <- (1 - d) W + A and B <- (1 - d) B + A, so that B - W shrinks by 1 - d in every step, and B
    becomes W without having read it (Kolen & Pollack 1994; Akrout et al. 2019, arXiv:1904.05391).
    A is what the optimizer makes of the gradient. Both get the same where the decay does not pass
    through the optimizer's state: adamw, with d = lr * weight_decay, and sgd, whose momentum makes
    of B - W a damped oscillation. Adam's decay is part of the gradient that it normalises by W's
    and B's own size: there nothing is promised.
    """

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """A decay that both copies share, without which they never meet."""
        return default.model_copy(update={"optimizer": "adamw", "weight_decay": 0.1})

    def build(self, init: Init) -> None:
        super().build(init)
        for affine in self.maps.values():
            affine.feedback.weight.requires_grad_()
        names = {id(p): name for name, p in self.named_parameters()}
        self.twins = {  # by B's name, W's
            names[id(affine.feedback.weight)]: names[id(affine.weight)]
            for affine in self.maps.values()
        }

    def gradients(self, batch: Batch, s: Step) -> Grads:
        grads = super().gradients(batch, s)
        return {**grads, **{b: grads[w] for b, w in self.twins.items()}}
