"""An update that depends on its own weights is no transport, unless a transpose is part of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench.auditing.decay import decays
from tests.auditing.snippets.step import Batch


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_decay_moves_each_number_with_its_own_weight() -> None:
    by, signal = normal(5, 4, 3), normal(5, 4, 3)
    for factor in (torch.tensor(0.1), normal(5, 1, 1), normal(1, 4, 1)):
        assert decays(factor * by, by, signal)
    mixed = torch.einsum("ij,jkl->ikl", normal(5, 5), by)
    assert not decays(mixed, by, signal)
    assert not decays(0.1 * by + 1e-6 * mixed, by, signal)


class Again(nn.Module):
    """One layer, applied twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.head = nn.Linear(20, 20), nn.Linear(20, 3)


@pytest.mark.parametrize("detach", [True, False])
def test_a_penalty_on_a_repeated_layers_weights_adds_no_depth(batch: Batch, detach: bool) -> None:
    model = Again()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, Again)
        h = model.again(batch[0]).tanh()
        h = model.again(h.detach() if detach else h).tanh()
        loss = F.cross_entropy(model.head(h), batch[1])
        optimizer.zero_grad()
        (loss + 0.01 * model.again.weight.square().sum()).backward()
        optimizer.step()

    def predict(model: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(model, Again)
        logits: Tensor = model.head(model.again(model.again(x).tanh()).tanh())
        return logits

    report = lbench.audit(step, model, batch, predict=predict)
    assert report.transport.depths()["again"] == (1 if detach else 2)
    assert report.measured["backward_depth"] == (1 if detach else "full")
