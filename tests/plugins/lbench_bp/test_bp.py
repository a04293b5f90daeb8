"""bp is the gradient of the cross-entropy, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_bp.bp import Bp


class SpatialMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3).mean(2)


def plain_mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(20, 14), nn.ReLU(), nn.Linear(14, 8), nn.ReLU(), nn.Linear(8, 5)
    )


def plain_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 7, 3, padding=1, bias=False), nn.BatchNorm2d(7), nn.ReLU(),
        SpatialMean(), nn.Linear(7, 5),
    )  # fmt: skip


NETS: dict[str, tuple[Any, Any]] = {
    "mlp": (Mlp(widths=(14, 8)), plain_mlp),
    "cnn": (Cnn(widths=(6, 8, 7)), plain_cnn),
}
NET = pytest.mark.parametrize("net", NETS)


def make(net: Any, blocks: int | None = None, shape: tuple[int, int, int] = (1, 4, 5)) -> Bp:
    init = Init(1)
    network = net.build(init, shape, 5)
    network = network if blocks is None else network.regrouped(blocks)
    return Bp(network, Task("toy", shape, 5), Bp.Config(), init)


def batch_of(size: int = 9, shape: tuple[int, int, int] = (1, 4, 5)) -> Batch:
    g = torch.Generator().manual_seed(2)
    return Batch(torch.randn(size, *shape, generator=g), torch.randint(5, (size,), generator=g))


def gradients(rule: Bp, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """Return the gradients in the order of the rule's parameters, and the logged loss."""
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update(grads)

    rule.attach({group.name: keep for group in rule.groups()})
    s = Step(Randomness(0))
    rule.step(batch, s)
    return [received[name] for name, _ in rule.named_parameters()], s.logs["loss"]


@NET
@pytest.mark.parametrize("blocks", [None, 1])
def test_bp_is_the_gradient_of_cross_entropy_on_the_plain_network(
    net: str, blocks: int | None
) -> None:
    spec, plain_network = NETS[net]
    rule, plain = make(spec, blocks), plain_network()
    with torch.no_grad():
        for p, q in zip(plain.parameters(), rule.parameters(), strict=True):
            p.copy_(q)
    batch = batch_of()
    actual, logged = gradients(rule, batch)
    loss = F.cross_entropy(plain(batch.x), batch.target)
    loss.backward()
    torch.testing.assert_close(logged, loss.detach(), rtol=1e-6, atol=1e-6)
    for g, p in zip(actual, plain.parameters(), strict=True):
        torch.testing.assert_close(g, p.grad, rtol=0, atol=1e-6)
    rule.eval()
    plain.eval()
    torch.testing.assert_close(rule.predict(batch.x), plain(batch.x))


@pytest.mark.parametrize("net", [Mlp(widths=(4, 3)), Cnn(widths=(3, 2), norm="batch")], ids=repr)
def test_bp_equals_finite_differences(net: Mlp | Cnn) -> None:
    rule, batch = make(net, shape=(1, 2, 2)).double(), batch_of(shape=(1, 2, 2))
    batch.x = batch.x.double()
    actual, _ = gradients(rule, batch)
    eps = 1e-6
    for p, g in zip(rule.parameters(), actual, strict=True):
        flat = p.detach().view(-1)
        for i in range(len(flat)):
            value, ends = flat[i].item(), []
            for sign in (1, -1):
                flat[i] = value + sign * eps
                with torch.no_grad():
                    log_p = rule.network(batch.x).log_softmax(1)
                    ends.append(-log_p[range(9), batch.target].mean().item())
            flat[i] = value
            slope = (ends[0] - ends[1]) / (2 * eps)
            assert g.view(-1)[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


@NET
def test_a_step_in_bfloat16_is_finite_and_near_float32(net: str) -> None:
    rule, batch = make(NETS[net][0]), batch_of(64)
    exact, _ = gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = gradients(rule, batch)
    for g, h in zip(exact, rough, strict=True):
        assert h.dtype == torch.float32
        assert h.isfinite().all()
        assert (g - h).norm() < 0.25 * g.norm() + 1e-3
