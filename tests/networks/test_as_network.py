"""as_network divides any module into blocks with the same forward, or says what does not fit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench import Block, Init, Network, UsageError, as_network, tapped

SHAPE = (2, 8, 8)
BATCH = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))


class Functional(nn.Module):
    """LeNet as in tutorials: pooling in front of the activation, sizes from the input."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(6, 7), nn.Linear(7, 5)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(F.max_pool2d(self.conv1(x), 2))
        x = self.activation(F.max_pool2d(self.conv2(x), 2))
        x = x.view(x.size(0), -1)
        return self.fc2(self.activation(self.fc1(x)))


class Residual(nn.Module):
    """Two convolutions and a shortcut, which is projected where the width changes."""

    def __init__(self, inputs: int, width: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inputs, width, 3, 1, 1),
            nn.Conv2d(width, width, 3, 1, 1),
        )
        self.norm1, self.norm2 = nn.GroupNorm(1, width), nn.BatchNorm2d(width)
        self.project = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()
        self.act = nn.ReLU(inplace=True) if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.second(self.act(self.norm1(self.first(x)))))
        h += self.project(x)
        return self.act(h)


def residual() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        Residual(4, 4), Residual(4, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip


class Branches(nn.Module):
    """Two convolutions side by side, whose outputs a third one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(2, 3, 1),
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Conv2d(6, 4, 1),
        )
        self.out = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x).relu(), self.b(x).relu()], 1)
        return self.out(self.c(x).relu_().mean((2, 3)))


class Again(nn.Module):
    """A convolution that is applied to its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(2, 4, 1), nn.Linear(4, 5)
        conv = nn.Conv2d(4, 4, 1)
        self.twice = nn.Sequential(conv, nn.Tanh(), conv, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.twice(torch.tanh(self.first(x))).mean((2, 3)))


def plain(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), *parts, nn.Flatten(), nn.LazyLinear(5))


FITTING: dict[str, tuple[Callable[[], nn.Module], list[str], str, list[int]]] = {
    "functional": (Functional, ["conv1", "conv2", "fc1"], "fc2", [1, 1, 1]),
    "tanh": (
        functools.partial(Functional, torch.tanh),
        ["conv1", "conv2", "fc1"],
        "fc2",
        [1, 1, 1],
    ),
    "joined": (Functional, ["conv2", "fc1"], "fc2", [2, 1]),
    "residual": (residual, ["0", "4", "5"], "8", [1, 2, 3]),
    "branches": (Branches, ["c"], "out", [3]),
    "again": (Again, ["first", "twice"], "out", [1, 1]),
    "lazy": (lambda: plain(nn.LeakyReLU(0.2)), ["0"], "3", [1]),
    "linear": (plain, ["0"], "2", [1]),
    "gelu": (lambda: plain(nn.GELU(), nn.AvgPool2d(2)), ["0"], "4", [1]),
    "dropout of 0": (lambda: plain(nn.Dropout(0.0), nn.SiLU(), nn.Dropout(0.0)), ["0"], "5", [1]),
}


def made(name: str, seed: int = 0, dropout: float = 0.0) -> tuple[nn.Module, Network]:
    make, blocks, readout, _ = FITTING[name]
    module = make()
    network = as_network(module, Init(seed), SHAPE, blocks=blocks, readout=readout, dropout=dropout)
    return module, network


EVERY = pytest.mark.parametrize("name", FITTING)


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_the_network_computes_what_the_module_computes(name: str, training: bool) -> None:
    module, network = made(name)
    module.train(training)
    network.train(training)
    assert torch.equal(network(BATCH), module(BATCH))
    for count in range(1, len(network.blocks) + 1):
        torch.testing.assert_close(network.regrouped(count)(BATCH), module(BATCH))


@EVERY
def test_blocks_have_the_named_layers_and_all_parameters(name: str) -> None:
    module, network = made(name)
    assert [len(block.layers) for block in network.blocks] == FITTING[name][3]
    modules = dict(module.named_modules())
    for layer in network.layers:
        assert modules[layer.name] is layer.affine
    assert {id(p) for p in network.parameters()} == {id(p) for p in module.parameters()}
    trained = {id(p) for block in network.blocks for lay in block.layers for p in lay.parameters()}
    assert trained == {id(p) for block in network.blocks for p in block.parameters()}


@EVERY
def test_z_is_the_output_of_the_last_layer_and_h_is_not_written_into_it(name: str) -> None:
    _, network = made(name)
    network.eval()
    x = BATCH
    for block in network.blocks:
        taken: list[Tensor] = []

        def take(_: Any, z: Tensor, taken: list[Tensor] = taken) -> Tensor:
            taken.append(z)
            return z

        with tapped([block.layers[-1]], take):
            z = block.preactivation(x)
        before = z.clone()
        assert torch.equal(taken[-1], z)
        h = block.activate(z)
        assert h.shape == z.shape
        x = block.emit(h)
        assert torch.equal(z, before)


@EVERY
def test_weights_depend_on_the_seed_and_the_name_alone(name: str) -> None:
    def weights(seed: int, noise: int) -> list[Tensor]:
        torch.manual_seed(noise)
        return list(made(name, seed)[1].state_dict().values())

    first, other = weights(0, 1), weights(1, 1)
    assert all(map(torch.equal, first, weights(0, 2)))
    assert not all(map(torch.equal, first, other))


def test_a_layer_has_the_weights_of_its_name_in_any_block() -> None:
    apart, joined = made("functional")[1], made("joined")[1]
    assert [layer.name for layer in apart.layers] == [layer.name for layer in joined.layers]
    for one, other in zip(apart.layers, joined.layers, strict=True):
        assert torch.equal(one.affine.weight, other.affine.weight)
    expected = Init(0).linear("fc1", 6, 7)
    assert torch.equal(apart.layers[2].affine.weight, expected.weight)


def test_a_gradient_reaches_every_parameter_of_a_block_by_itself() -> None:
    _, network = made("residual")
    x = BATCH
    for block in network.blocks:
        x = block(x.detach())
        grads = torch.autograd.grad(x.square().sum(), list(block.parameters()))
        assert all(bool(grad.abs().sum() > 0) for grad in grads)


def test_a_projection_is_part_of_the_last_layers_z_and_no_link_of_the_chain() -> None:
    _, network = made("residual")
    network.input_shape = SHAPE
    assert [layer.name for layer in network.blocks[2].layers] == [
        "5.first",
        "5.project",
        "5.second",
    ]
    assert network.block_depth == 2


def test_dropout_drops_activations_in_training_alone() -> None:
    from lbench.randomness import Randomness
    from lbench.step import Step

    _, network = made("functional", dropout=0.5)
    step, block = Step(Randomness(0)), network.blocks[2]
    assert isinstance(block, Block)
    h = torch.rand(50, 7) + 1
    kept = block.emit(h, step) != 0
    assert 0.3 < kept.float().mean() < 0.7
    assert torch.equal(block.emit(h), h)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(64, 64), nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.mix(x.flatten(2))).mean(2))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(2, 4, 1), nn.Parameter(torch.ones(1))
        self.out = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(x) * self.scale).mean((2, 3)))


class Branching(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Moded(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 1 if self.training else x)


class Softened(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(super().forward(x), 1)


class Passing(nn.Module):
    """A shortcut that passes by the second convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(n, 4, 1) for n in (2, 4, 4))
        self.out = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        b = F.relu(self.b(a))
        return self.out(F.relu(self.c(b) + a).mean((2, 3)))


class Gated(Passing):
    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        return self.out((F.relu(self.b(a)) * a).mean((2, 3)))


class Gate(nn.Module):
    """A convolution whose activation is multiplied by its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)) * x


def gate() -> nn.Module:
    return nn.Sequential(Gate(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))


class Drawing(Passing):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.a(x + torch.rand_like(x))).mean((2, 3)))


class Tied(Passing):
    def __init__(self) -> None:
        super().__init__()
        self.b.weight = self.c.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))).mean((2, 3)))


class Reused(Tied):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.c(F.relu(self.a(x))))
        return self.out(F.relu(self.b(F.relu(self.c(x)))).mean((2, 3)))


def weight_norm() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), nn.ReLU(), nn.Flatten(),
        nn.Linear(144, 5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "blocks", "readout", "message"),
    [
        (Functional, ["conv1", "conv2"], "fc2", "Between the last block and the readout"),
        (Functional, ["conv1", "conv3", "fc1"], "fc2", "'conv3'"),
        (Functional, ["conv2", "conv1", "fc1"], "fc2", "block in front of it alone"),
        (Functional, ["conv1", "conv1", "fc1"], "fc2", "block in front of it alone"),
        (Functional, [], "fc2", "has no blocks"),
        (Functional, ["conv1", "conv2", "fc1"], "conv2", "not a linear map"),
        (Functional, ["conv1", "conv2"], "fc1", "not the output of the readout 'fc1'"),
        (Branching, ["conv1", "conv2", "fc1"], "fc2", "cannot be traced"),
        (Moded, ["conv1", "conv2", "fc1"], "fc2", "other steps in training"),
        (Softened, ["conv1", "conv2", "fc1"], "fc2", "not the output of the readout 'fc2'"),
        (functools.partial(Functional, F.gelu), ["conv1", "conv2", "fc1"], "fc2", "exchanged"),
        (Passing, ["a", "b", "c"], "out", "block in front of it alone"),
        (Gated, ["b"], "out", "The readout 'out' does not read"),
        (gate, ["0"], "3", "combines several values (the call of mul)"),
        (Drawing, ["a"], "out", "rand_like, which draws random numbers"),
        (Tied, ["a", "b", "c"], "out", "share a parameter"),
        (Reused, ["a", "b"], "out", "share a parameter"),
        (Tokens, ["mix"], "out", "3 dimensions, such as tokens"),
        (Scaled, ["conv"], "out", "the tensor 'scale' by itself"),
        (weight_norm, ["0"], "3", "computed from other parameters"),
        (residual, ["0", "4", "4.act"], "8", "calls module '4.act' 2 times"),
        (lambda: plain(nn.Dropout(0.5), nn.ReLU()), ["0"], "4", "dropout with p=0.5"),
        (lambda: plain(nn.PReLU()), ["0"], "3", "PReLU with trained parameters"),
        (lambda: plain(nn.ReLU(), nn.BatchNorm2d(4)), ["0"], "4", "'2' does not stand directly"),
        (lambda: plain(nn.AvgPool2d(2), nn.ReLU()), ["0"], "4", "'1' stands in front of relu()"),
        (lambda: plain(nn.Softshrink()), ["0"], "3", "'1' stands behind the last layer"),
        (
            lambda: plain(nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Tanh()),
            ["0", "2"], "5", "'2' has tanh() behind it, but layer '0' has relu()",
        ),
        (
            lambda: plain(nn.ReLU(), nn.Conv2d(4, 4, 1)),
            ["2"], "4", "'2' has no activation behind it",
        ),
        (lambda: plain(nn.ReLU(), nn.ReLU6(), nn.MaxPool2d(2)), ["0", "2"], "5", "alone"),
        (
            lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding_mode="reflect", padding=1), nn.ReLU(),
                                  nn.Flatten(), nn.Linear(256, 5)),
            ["0"], "3", "mode 'reflect'",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(
    make: Callable[[], nn.Module], blocks: list[str], readout: str, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        as_network(make(), Init(0), SHAPE, blocks=blocks, readout=readout)
    assert message in refused.value.message
    assert refused.value.hint
