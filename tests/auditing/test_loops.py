"""Steps that iterate to convergence, so that the number of calls of a layer is not fixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from tests.auditing.audits import few
from tests.auditing.snippets.step import Batch, Step

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]


def predictive_coding(model: nn.Sequential, tolerance: float) -> Step:
    """Predictive coding (Whittington and Bogacz 2017) that relaxes until convergence."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def energy(states: list[Tensor], layers: list[nn.Module]) -> Tensor:
        total = torch.zeros((), dtype=states[0].dtype)
        for layer, below, above in zip(layers, states, states[1:], strict=False):
            total = total + 0.5 * (above - layer(below)).square().sum()
        return total

    def step(model: nn.Module, batch: Batch) -> None:
        layers = list(model.children())
        x, y = batch
        states = [x]
        with torch.no_grad():
            for layer in layers:
                states.append(layer(states[-1]))
        states[-1] = F.one_hot(y, states[-1].shape[1]).to(x.dtype)
        last = torch.inf
        for _ in range(60):
            free = [s.detach().requires_grad_() for s in states[1:-1]]
            states[1:-1] = free
            total = energy(states, layers)
            if abs(last - total.item()) < tolerance * total.item():
                break
            last = total.item()
            for state, grad in zip(free, torch.autograd.grad(total, free), strict=True):
                state.data -= 0.1 * grad
        optimizer.zero_grad()
        energy([s.detach() for s in states], layers).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("seed", few(range(5), [0]))
def test_a_loop_with_a_tolerance_ends_in_a_verdict(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Sequential(nn.Linear(20, 16), nn.Tanh()),
            nn.Sequential(nn.Linear(16, 16), nn.Tanh()),
            nn.Linear(16, 3),
        )
        batch = torch.randn(14, 20), torch.arange(14) % 3
    for tolerance in (1e-2, 1e-3):
        report = lbench.audit(predictive_coding(model, tolerance), model, batch)
        assert report.measured["bp_free"] in (None, False)
        assert report.measured["writes"] == "own"
