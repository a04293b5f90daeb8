"""Ridge regression from sums over examples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Ridge:
    """Least squares of one-hot labels on standardised features, with a penalty on the weights.

    It minimises, over w and b, (1/n)·sum_i |t_i - w·x̃_i - b|² + penalty·|w|², where x̃ has mean 0
    and variance 1; features that are constant are left out.

    Args:
        features: the number of features.
        classes: the number of classes.
        device: the device of the sums.
    """

    def __init__(self, features: int, classes: int, device: torch.device) -> None:
        self.classes = classes
        self._count = 0
        self._x = torch.zeros(features, dtype=torch.float64, device=device)
        self._t = torch.zeros(classes, dtype=torch.float64, device=device)
        self._xx = torch.zeros(features, features, dtype=torch.float64, device=device)
        self._xt = torch.zeros(features, classes, dtype=torch.float64, device=device)

    def add(self, x: Tensor, target: Tensor) -> None:
        """Add examples to the sums.

        Args:
            x: (batch, features), float64.
            target: (batch,).
        """
        t = F.one_hot(target, self.classes).to(x.dtype)
        self._count += len(x)
        self._x += x.sum(0)
        self._t += t.sum(0)
        self._xx.addmm_(x.T, x)
        self._xt.addmm_(x.T, t)

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return weights (features, classes) and biases (classes,) for unstandardised features."""
        x, t = self._x / self._count, self._t / self._count
        covariance = self._xx / self._count - torch.outer(x, x)
        variance = covariance.diagonal()
        # Rounding gives constant features a tiny variance, which must not count.
        varies = variance > 1e-10 * (self._xx.diagonal() / self._count)
        scale = torch.where(varies, variance, torch.inf).rsqrt()
        normal = covariance * torch.outer(scale, scale)
        normal.diagonal().add_(penalty)
        right = (self._xt / self._count - torch.outer(x, t)) * scale[:, None]
        weight = torch.linalg.solve(normal, right) * scale[:, None]
        return weight, t - x @ weight
