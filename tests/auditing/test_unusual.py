"""Uncommon training steps: relaxation, routing, populations, complex numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench.auditing.conduct import observed
from lbench.auditing.step_subject import StepSubject
from lbench.errors import UsageError
from tests.auditing.snippets.step import Batch, training


def three() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)
    )


def energy(model: nn.Module, x: Tensor, states: list[Tensor], wanted: Tensor | None) -> Tensor:
    """Return the energy of a layered Hopfield network with states of two layers and the output."""
    assert isinstance(model, nn.Sequential)
    below = [x, *(state.sigmoid() for state in states[:-1])]
    total = sum(state.square().sum() / 2 for state in states)
    for k, given, state in zip((0, 2, 4), below, [*below[1:], states[-1]], strict=True):
        total = total - (model[k](given) * state).sum()
    if wanted is not None:
        total = total + (states[-1] - wanted).square().sum() / 2
    assert isinstance(total, Tensor)
    return total


def test_equilibrium_propagation_is_as_deep_as_its_predictions(batch: Batch) -> None:
    """The states start at 0 and relax by gradients of the energy, so no layer acts first."""
    model = three()

    def relaxed(
        model: nn.Module, x: Tensor, states: list[Tensor], y: Tensor | None
    ) -> list[Tensor]:
        for _ in range(4):
            states = [state.detach().requires_grad_() for state in states]
            grads = torch.autograd.grad(energy(model, x, states, y), states)
            states = [state - 0.2 * g for state, g in zip(states, grads, strict=True)]
        return [state.detach() for state in states]

    def step(model: nn.Module, batch: Batch) -> None:
        x, wanted = batch[0], F.one_hot(batch[1], 3).to(batch[0])
        free = relaxed(model, x, [torch.zeros(len(x), n) for n in (12, 12, 3)], None)
        nudged = relaxed(model, x, free, wanted)
        model.zero_grad()
        (energy(model, x, nudged, wanted) - energy(model, x, free, None)).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.05 * p.grad

    report = lbench.audit(step, model, batch)
    assert report.measured["transport"] == report.measured["backward_depth"] == "full"


class Experts(nn.Module):
    """A layer of three experts, one of which a router chooses for each example."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.router = nn.Linear(inputs, 3)
        self.experts = nn.ModuleList(nn.Linear(inputs, outputs) for _ in range(3))
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.router(x).softmax(1).max(1)
        z = x.new_zeros(len(x), self.outputs)
        for k, expert in enumerate(self.experts):
            if (mask := chosen == k).any():
                z[mask] = expert(x[mask]) * weight[mask, None]
        return z


def test_the_choice_of_an_expert_adds_no_depth(batch: Batch) -> None:
    model = nn.Sequential(Experts(20, 8), nn.ReLU(), Experts(8, 8), nn.ReLU(), nn.Linear(8, 3))
    assert lbench.audit(training(model), model, batch).measured["backward_depth"] == "full"


class Complex(nn.Module):
    """A layer of complex weights and the absolute value."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(outputs, inputs, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.weight.dtype) @ self.weight.T).abs()


def test_complex_weights_are_measured(batch: Batch) -> None:
    model = nn.Sequential(Complex(20, 8), Complex(8, 8), nn.Linear(8, 3))
    report = lbench.audit(training(model), model, batch)
    assert report.measured["transport"] == report.measured["backward_depth"] == "full"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    head = model[2]

    def local(model: nn.Module, batch: Batch) -> None:
        assert isinstance(model, nn.Sequential)
        h = model[0](batch[0])
        optimizer.zero_grad()
        loss = h.square().mean() + model[1](h.detach()).square().mean()
        (loss + F.cross_entropy(model(batch[0]).detach() + 0 * head.bias, batch[1])).backward()
        optimizer.step()

    assert lbench.audit(local, model, batch).measured["transport"] == "none"


def test_a_population_of_networks_under_vmap_is_traced(batch: Batch) -> None:
    model = three()

    def step(model: nn.Module, batch: Batch) -> None:
        x, y = batch
        params = dict(model.named_parameters())
        noise = {name: torch.randn(4, *p.shape) for name, p in params.items()}

        def loss(own: Any) -> Tensor:
            return F.cross_entropy(torch.func.functional_call(model, own, (x,)), y)

        with torch.no_grad():
            losses = torch.vmap(loss)({n: p + 0.05 * noise[n] for n, p in params.items()})
            for name, p in params.items():
                p -= 0.05 * torch.einsum("k,k...->...", losses - losses.mean(), noise[name])

    units = {"first": [model[0]], "second": [model[2]], "readout": [model[4]]}
    replica = StepSubject(step, model, batch[0].double(), batch[1], units)
    copy = replica.replica()
    with observed(replica, copy):
        signals = copy.step(0, replica.batch(0, 7), None)
    assert len(signals) == 6
    assert copy.conduct.writes == []


def test_a_model_that_returns_no_tensor_needs_predict(batch: Batch) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(20, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            hidden = self.body(x).relu()
            return {"hidden": hidden, "logits": self.head(hidden)}

    model = Both()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0])["logits"], batch[1]).backward()
        optimizer.step()

    with pytest.raises(UsageError, match="returns a dict, not a tensor of logits"):
        lbench.audit(step, model, batch)
    report = lbench.audit(step, model, batch, predict=lambda model, x: model(x)["logits"])
    assert report.measured["backward_depth"] == "full"


@pytest.mark.slow  # the compiler takes seconds to import
def test_a_compiled_model_runs_without_compilation(batch: Batch) -> None:
    compiled: list[int] = []

    def backend(module: Any, inputs: Any) -> Any:
        compiled.append(len(inputs))
        return module.forward

    model = three()
    model[2] = torch.compile(model[2], backend=backend)
    assert lbench.audit(training(model), model, batch).measured["backward_depth"] == "full"
    assert compiled == []
    model(batch[0])
    assert compiled != []
