"""Separate binary leader-follower networks in NumPy, from the paper's text alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[np.float64]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def entropy(y: Array, t: Array) -> Array:
    return -(t * np.log(y) + (1 - t) * np.log(1 - y))


class Binary:
    """The network of one class: W workers of one sigmoid unit, and an output unit.

    Args:
        params: weight (W, inputs) and bias (W,) of the workers, weight (W,) and bias of the output.
    """

    def __init__(self, *params: Array) -> None:
        self.params = [np.array(p, dtype=np.float64) for p in params]
        self.m = [np.zeros(p.shape) for p in self.params]
        self.v = [np.zeros(p.shape) for p in self.params]
        self.t = 0

    def workers(self, x: Array) -> Array:
        weight, bias = self.params[:2]
        return np.stack([sigmoid(x @ w + b) for w, b in zip(weight, bias, strict=True)], axis=1)

    def logits(self, x: Array) -> Array:
        output, bias = self.params[2:]
        logits: Array = self.workers(x) @ output + bias
        return logits

    def order(self, x: Array, t: Array) -> list[int]:
        """Return the workers, from lowest to highest loss on the batch."""
        y = self.workers(x)
        losses = [entropy(y[:, w], t).mean() for w in range(y.shape[1])]
        return sorted(range(len(losses)), key=lambda w: float(losses[w]))

    def losses(self, x: Array, t: Array, order: list[int], n: int, best: Array) -> list[Array]:
        """Return L_g, L_lead and L_fol; followers copy the constant ``best``."""
        y = self.workers(x)
        lead = np.mean([entropy(y[:, w], t).mean() for w in order[:n]])
        gaps = [((y[:, w] - best) ** 2).mean() for w in order[n:]]
        return [
            entropy(sigmoid(self.logits(x)), t).mean(),
            np.asarray(lead),
            np.asarray(np.mean(gaps) if gaps else 0.0),
        ]

    def differences(
        self, x: Array, t: Array, n: int, lambda1: float, lambda2: float, eps: float = 1e-5
    ) -> list[Array]:
        """Return the gradient of each parameter by central differences of its losses.

        The losses are L_g + lambda1 L_lead for a leader, lambda2 L_fol for a follower and L_g for
        the output unit.
        """
        order = self.order(x, t)
        best = self.workers(x)[:, order[0]]
        grads = [np.zeros(p.shape) for p in self.params]
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            for at in np.ndindex(p.shape):
                follows = i < 2 and at[0] in order[n:]
                counts = np.array([0, 0, lambda2] if follows else [1, lambda1, 0])
                value, slope = float(p[at]), 0.0
                for sign in (1, -1):
                    p[at] = value + sign * eps
                    values = np.array(self.losses(x, t, order, n, best))
                    slope += sign * float(counts @ values) / (2 * eps)
                p[at], g[at] = value, slope
        return grads

    def closed(self, x: Array, t: Array, n: int, lambda1: float, lambda2: float) -> list[Array]:
        """Return the same gradients by the chain rule."""
        order, size = self.order(x, t), len(t)
        y, output = self.workers(x), self.params[2]
        output_error = (sigmoid(self.logits(x)) - t) / size
        dz = np.zeros(y.shape)
        for rank, w in enumerate(order):
            slope = y[:, w] * (1 - y[:, w])
            if rank < n:
                dz[:, w] = output_error * output[w] * slope + lambda1 * (y[:, w] - t) / (n * size)
            else:
                gap = 2 * (y[:, w] - y[:, order[0]]) / ((len(order) - n) * size)
                dz[:, w] = lambda2 * gap * slope
        return [dz.T @ x, dz.sum(0), output_error @ y, output_error.sum()]

    def adam(self, grads: list[Array], lr: float) -> None:
        self.t += 1
        for p, m, v, g in zip(self.params, self.m, self.v, grads, strict=True):
            m[...] = 0.9 * m + 0.1 * g
            v[...] = 0.999 * v + 0.001 * g**2
            scale = np.sqrt(v / (1 - 0.999**self.t)) + 1e-8
            p[...] -= lr * (m / (1 - 0.9**self.t)) / scale


NAMES = [
    "network.blocks.0.layer.affine.weight",
    "network.blocks.0.layer.affine.bias",
    "network.readout.weight",
    "network.readout.bias",
]


def split(values: dict[str, Tensor], k: int, workers: int) -> list[Array]:
    """Return a copy of the part of class k of parameters or gradients by name."""
    rows, output = slice(k * workers, (k + 1) * workers), k
    parts: list[Any] = [values[name].detach().numpy() for name in NAMES]
    return [parts[0][rows].copy(), parts[1][rows].copy(), parts[2][output].copy(), parts[3][output]]
