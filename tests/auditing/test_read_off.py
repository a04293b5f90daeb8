"""Weights that a step reads off the outputs of layers count as transposed weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from tests.auditing.snippets.step import Batch

Read = Callable[[nn.Module, int, Tensor], Tensor]
MODEL = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3))


def unit_vectors(layer: nn.Module, width: int, like: Tensor) -> Tensor:
    eye = torch.eye(width, dtype=like.dtype)
    return layer(eye) - layer(torch.zeros_like(eye))


def one_at_a_time(layer: nn.Module, width: int, like: Tensor) -> Tensor:
    nothing = torch.zeros(1, width, dtype=like.dtype)
    rows = []
    for k in range(width):
        one = nothing.clone()
        one[0, k] = 1.0
        rows.append(layer(one) - layer(nothing))
    return torch.cat(rows)


def slope(layer: nn.Module, width: int, like: Tensor) -> Tensor:
    """Return differences around a point that is independent of the batch."""
    point, step = torch.ones(1, width, dtype=like.dtype), 1e-3
    moved = point + step * torch.eye(width, dtype=like.dtype)
    return (layer(moved) - layer(point)) / step


@pytest.mark.parametrize("read", [unit_vectors, one_at_a_time, slope])
def test_backpropagation_through_weights_read_off_outputs_is_seen(read: Read, batch: Batch) -> None:
    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, nn.Sequential)
        x, y = batch
        with torch.no_grad():
            h1 = model[0](x).relu()
            h2 = model[2](h1).relu()
            e3 = (model[4](h2).softmax(1) - F.one_hot(y, 3)) / len(y)
            e2 = (h2 > 0) * (e3 @ read(model[4], 30, x).T)
            e1 = (h1 > 0) * (e2 @ read(model[2], 30, x).T)
            for k, e, h in ((0, e1, x), (2, e2, h1), (4, e3, h2)):
                model[k].weight -= 0.1 * e.T @ h

    report = lbench.audit(step, MODEL, batch)
    assert report.transport.kinds["0", "2"] == report.transport.kinds["0", "4"] == "full"
    assert report.measured["bp_free"] is False
    assert report.measured["backward_depth"] == "full"
