"""softmax_regression: a linear classifier of pixels."""

from __future__ import annotations

import math

from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.rule import GradientRule
from lbench.step import Step
from lbench.task import Batch


class SoftmaxRegression(GradientRule):
    """Multinomial logistic regression: the null model without hidden layers.

    With logits o = W x + b, p = softmax(o) and B examples, the gradient at W is
    (1/B) sum_b (p_b - e_{t_b}) x_b^T. The network's layers never run, and count as fixed.
    """

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="none",
            backward_depth=0,
            update_locked=False,
            global_error="none",
            couples="none",
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return a learning rate of at least 0.01: one layer does not converge at lower rates."""
        return default.model_copy(update={"lr": max(default.lr, 1e-2)})

    def build(self, init: Init) -> None:
        self.network.requires_grad_(False)
        self.network.readout = nn.Identity()  # type: ignore[assignment]
        self.linear = init.linear("regression", math.prod(self.task.shape), self.task.classes)

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return self.task.loss(self.predict(batch.x), batch.target)

    def predict(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        return logits
