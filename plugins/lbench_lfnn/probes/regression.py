"""Logistic regression of the input, the linear classifier that leaders are compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.probe import Examples, chunks

PENALTY = 1e-3
"""Without it, weights of rare pixels and the held-out error grow for thousands of iterations."""
ITERATIONS = 100
TOLERANCE = 2e-4
"""Bound on the largest gradient entry; a tighter one changes no error on MNIST by 0.1 points."""


def fit(examples: Examples, classes: int, *, binary: bool) -> tuple[Tensor, Tensor]:
    """Return weights (features, classes) and biases (classes,) of a regression, in float64.

    L-BFGS minimises the mean cross-entropy + PENALTY/2·|w|² over v, with w = T v,
    T = (C + 10·PENALTY)^(-1/2) and C the covariance of the features. The variances of pixels
    differ so much that optimising w itself would take ten times as long. 10 is the inverse of a
    typical p(1 - p).

    Args:
        examples: the examples to fit.
        classes: number of classes.
        binary: fit one independent regression per class, which separates it from all others,
            instead of one multinomial regression.
    """
    mean, scale = _scaling(examples)
    v = torch.zeros(len(mean), classes, dtype=torch.float64, device=mean.device)
    bias = torch.zeros_like(v[0])
    optimizer = torch.optim.LBFGS(
        [v, bias],
        max_iter=ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        weight = scale @ v
        loss = PENALTY / 2 * weight.square().sum()
        weight_grad, bias_grad = PENALTY * weight, torch.zeros_like(bias)
        for x, target in chunks(examples):
            rows = x.flatten(1).double() - mean
            logits, onehot = rows @ weight + bias, F.one_hot(target, classes).double()
            if binary:
                grad = logits.sigmoid() - onehot
                entropy = F.binary_cross_entropy_with_logits(logits, onehot, reduction="sum")
            else:
                grad = logits.softmax(1) - onehot
                entropy = F.cross_entropy(logits, target, reduction="sum")
            loss += entropy / len(examples)
            weight_grad.addmm_(rows.T, grad, alpha=1 / len(examples))
            bias_grad += grad.sum(0) / len(examples)
        v.grad, bias.grad = scale.T @ weight_grad, bias_grad
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    weight = scale @ v
    return weight, bias - mean @ weight


def _scaling(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the mean of the features and (C + 10·PENALTY)^(-1/2)."""
    first, _ = next(chunks(examples))
    width = first[0].numel()
    total = torch.zeros(width, dtype=torch.float64, device=first.device)
    second = torch.zeros(width, width, dtype=torch.float64, device=first.device)
    for x, _ in chunks(examples):
        rows = x.flatten(1).double()
        total += rows.sum(0)
        second.addmm_(rows.T, rows)
    mean = total / len(examples)
    covariance = second / len(examples) - torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(covariance)
    return mean, vectors * (values.clamp_min(0) + 10 * PENALTY).rsqrt()
