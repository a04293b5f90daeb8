"""Logistic regression of the input: what a linear classifier of pixels comes to by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.probe import Examples
from lbench.probes.activations import chunks

PENALTY = 1e-3
"""Without one, weights of rare pixels grow for thousands of iterations, and held-out error too."""
ITERATIONS = 100
TOLERANCE = 2e-4
"""Of the largest entry of the gradient; a tighter one moves no error on MNIST by 0.1 points."""


def fit(examples: Examples, classes: int, *, binary: bool) -> tuple[Tensor, Tensor]:
    """Weights (features, classes) and biases (classes,), in float64.

    Minimises mean cross-entropy + PENALTY/2·|w|² by L-BFGS, over w = T v with
    T = (C + 10·PENALTY)^(-1/2) and C the covariance of the features: pixels differ so much in
    variance that w itself would take ten times as long. 10 is one over a typical p(1 - p).

    Args:
        binary: an independent regression a class, which tells it from all others, in the place
            of one multinomial regression.
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
        slope, shift = PENALTY * weight, torch.zeros_like(bias)
        for x, target in chunks(examples):
            rows = x.flatten(1).double() - mean
            logits, own = rows @ weight + bias, F.one_hot(target, classes).double()
            if binary:
                grad = logits.sigmoid() - own
                entropy = F.binary_cross_entropy_with_logits(logits, own, reduction="sum")
            else:
                grad = logits.softmax(1) - own
                entropy = F.cross_entropy(logits, target, reduction="sum")
            loss += entropy / len(examples)
            slope.addmm_(rows.T, grad, alpha=1 / len(examples))
            shift += grad.sum(0) / len(examples)
        v.grad, bias.grad = scale.T @ slope, shift
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    weight = scale @ v
    return weight, bias - mean @ weight


def _scaling(examples: Examples) -> tuple[Tensor, Tensor]:
    """The features' mean, and (C + 10·PENALTY)^(-1/2)."""
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
