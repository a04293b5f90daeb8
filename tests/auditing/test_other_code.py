"""Patterns in published code: own forward calls, own training loops, plain lists."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench.errors import UsageError

BATCH = torch.randn(14, 12, generator=torch.Generator().manual_seed(1)), torch.arange(14) % 3


class Layer(nn.Linear):
    """A layer that trains itself, and calls its forward method by its name."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.mm(x, self.weight.T).add(self.bias).relu()

    def train(self, good: Any = True, bad: Any = None) -> Any:
        if bad is None:
            raise TypeError("a training loop needs two batches")
        (F.softplus(self.forward(bad).square().mean(1) - self.forward(good).square().mean(1))).mean(
            0
        ).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.forward(good).detach(), self.forward(bad).detach()


def labelled(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([F.one_hot(y, 3).to(x.dtype), x[:, 3:]], 1)


def step(model: Any, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    good, bad = labelled(x, y), labelled(x, (y + 1) % 3)
    for layer in model:
        good, bad = layer.train(good, bad)


def predict(model: Any, x: Tensor) -> Tensor:
    for layer in model:
        x = layer(x)
    return x


def test_a_layer_with_labels_in_its_input_that_calls_its_own_forward_has_no_transport() -> None:
    model = nn.ModuleList([Layer(12, 9), Layer(9, 9), Layer(9, 9)])
    report = lbench.audit(step, model, BATCH, predict=predict)
    assert report.measured["transport"] == "none"
    assert report.measured["backward_depth"] == 0
    assert not report.measured["update_locked"]


def test_a_graph_through_forward_methods_called_by_name_is_backpropagation() -> None:
    model = nn.ModuleList([Layer(12, 9), Layer(9, 9), Layer(9, 3)])

    def through(model: Any, batch: tuple[Tensor, Tensor]) -> None:
        h = labelled(*batch)
        for layer in model:
            h = layer.forward(h)
        F.cross_entropy(h, batch[1]).backward()
        for layer in model:
            layer.optimizer.step()
            layer.optimizer.zero_grad()

    report = lbench.audit(through, model, BATCH, predict=predict)
    assert report.measured["backward_depth"] == "full"


def test_a_model_with_its_layers_in_a_plain_list_is_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [Layer(12, 9)]

    with pytest.raises(UsageError, match="Net has no trained parameters") as raised:
        lbench.audit(step, Net(), BATCH)
    assert "ModuleList" in str(raised.value.hint)


def plain(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    model.zero_grad()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad


def two() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


def test_an_error_in_a_prediction_is_reported_with_its_line() -> None:
    def wrong(model: nn.Module, x: Tensor) -> Tensor:
        raise ValueError("no labels")

    with pytest.raises(UsageError, match=r"predicting failed: test_other_code.py, line \d+: Val"):
        lbench.audit(plain, two(), BATCH, predict=wrong)


def test_noise_in_a_prediction_is_no_leak() -> None:
    def noisy(model: nn.Module, x: Tensor) -> Tensor:
        return model(x) + torch.randn(len(x), 3)

    assert lbench.audit(plain, two(), BATCH, predict=noisy).measured["prediction"] == "clean"


def test_each_member_of_a_list_of_modules_is_a_unit() -> None:
    model = nn.ModuleDict(
        {"layers": nn.ModuleList([nn.Linear(12, 8), nn.Linear(8, 8)]), "out": nn.Linear(8, 3)}
    )

    def ahead(model: Any, x: Tensor) -> Tensor:
        for layer in model["layers"]:
            x = layer(x).relu()
        return model["out"](x)

    def train(model: Any, batch: tuple[Tensor, Tensor]) -> None:
        plain_loss = F.cross_entropy(ahead(model, batch[0]), batch[1])
        model.zero_grad()
        plain_loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad

    report = lbench.audit(train, model, BATCH, predict=ahead)
    assert [unit.name for unit in report.units] == ["layers.0", "layers.1", "out"]


def test_a_function_that_a_step_reads_from_an_own_module_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = types.ModuleType("their_helper")
    exec("count = [0]\ndef more():\n    count[0] += 1\n    return count[0]", vars(helper))
    monkeypatch.setitem(__import__("sys").modules, "their_helper", helper)
    monkeypatch.setitem(globals(), "their_helper", helper)

    def counting(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        model.zero_grad()
        scale = 1.0 / their_helper.more()  # type: ignore[name-defined]  # noqa: F821
        (scale * F.cross_entropy(model(batch[0]), batch[1])).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad

    assert lbench.audit(counting, two(), BATCH).measured["backward_depth"] == "full"
    assert helper.count == [0]
