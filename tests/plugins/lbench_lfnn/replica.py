"""lfnn_l in NumPy and float64, from the paper's text alone: Section 2, Adam, one cycle."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def softmax(a: Array) -> Array:
    e = np.exp(a - a.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def one_cycle(step: int, total: int, peak: float) -> float:
    """Return the rate: half a cosine from peak/25 over 30 % of steps, then one to peak/250,000."""
    top, end = 0.3 * total - 1, total - 1
    a, b, p = (1 / 25, 1, step / top) if step <= top else (1, 4e-6, (step - top) / (end - top))
    return peak * (a + (b - a) * (1 - math.cos(math.pi * p)) / 2)


class Replica:
    """Layers [W, c] with the readout last; the units of a worker are W apart, one per class."""

    def __init__(self, layers: list[list[Array]], total: int, peak: float) -> None:
        self.layers = [[p.astype(np.float64) for p in layer] for layer in layers]
        self.m = [[np.zeros(p.shape) for p in layer] for layer in layers]
        self.v = [[np.zeros(p.shape) for p in layer] for layer in layers]
        self.t, self.total, self.peak = 0, total, peak
        self.margin = math.inf

    def step(self, x: Array, label: npt.NDArray[np.int64], leadership: float = 0.7) -> float:
        """Make one step of every layer, and return the output loss."""
        size = len(label)
        hot = np.eye(10)[label]
        for i, (weight, bias) in enumerate(self.layers[:-1]):
            y = softmax((x @ weight.T + bias).reshape(size, 10, -1))
            count = y.shape[2]
            score = -np.log((y * hot[..., None]).sum(1)).mean(0)
            n, order = math.floor(leadership * count + 0.5), np.argsort(score, kind="stable")
            ranked = score[order]
            self.margin = min(
                self.margin, ranked[1] - ranked[0], *(ranked[n : n + 1] - ranked[n - 1])
            )
            dz = np.empty_like(y)
            for w in range(count):
                if w in order[:n]:
                    dz[:, :, w] = (y[:, :, w] - hot) / (n * size)
                else:
                    r = 2 * (y[:, :, w] - y[:, :, order[0]]) / ((count - n) * size * 10)
                    inner = (r * y[:, :, w]).sum(1, keepdims=True)
                    dz[:, :, w] = y[:, :, w] * (r - inner)
            self.adam(i, dz.reshape(size, -1), x)
            x = y.reshape(size, -1)
        weight, bias = self.layers[-1]
        p = softmax(x @ weight.T + bias)
        self.adam(-1, (p - hot) / size, x)
        self.t += 1
        return float(-np.log((p * hot).sum(1)).mean())

    def adam(self, i: int, dz: Array, x: Array) -> None:
        lr, t = one_cycle(self.t, self.total, self.peak), self.t + 1
        for j, g in enumerate((dz.T @ x, dz.sum(0))):
            m, v = self.m[i][j], self.v[i][j]
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            self.layers[i][j] = self.layers[i][j] - step
