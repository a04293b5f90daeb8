"""Small rules in float64 on networks of every family, and steps whose noise a test sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Pass, Readout, spatial_mean
from lbench.networks.cnn import Cnn
from lbench.networks.convnext import ConvNext
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.norm import LocalNorm
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.networks.vit import Vit
from lbench.randomness import Kind, Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task

SHAPE, CLASSES = (1, 4, 4), 3


class Pointwise(NetworkSpec):
    """Three 1x1 convolutions, two of them with four groups, and a normalisation between them."""

    pool: int = 1
    norm: Literal["groups of two", "all"] = "groups of two"

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        norm = LocalNorm(2) if self.norm == "groups of two" else nn.GroupNorm(1, 8)
        first = Layer("first", init.conv("first", shape[0], 8, 1))
        second = Layer("second", init.conv("second", 8, 8, 1, groups=4), norm)
        third = Layer("third", init.conv("third", 8, 8, 1, groups=4))
        blocks = [Block(first, pool=self.pool), Block(second), Block(third)]
        return Network(blocks, Readout(init.linear("readout", 8, classes)))


class Twice(Block):
    """A block whose layer acts twice, with the activation in between."""

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        z: Tensor = self.layer(self.activate(self.layer(x)))
        return z


class Tied(NetworkSpec):
    """A network of a convolution and another one that acts twice."""

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        first = Layer("first", init.conv("first", shape[0], 4, 3))
        twice = Layer("twice", init.conv("twice", 4, 4, 1, groups=2), LocalNorm(2))
        return Network([Block(first), Twice(twice)], Readout(init.linear("readout", 4, classes)))


class Net(NamedTuple):
    """A small network, regrouped into ``blocks`` blocks if that is given."""

    spec: NetworkSpec
    blocks: int | None = None
    dropout: float = 0.0


MIXER = LocalMixer(patches=2, channels=6, groups=2, depth=2)
NETS = {
    "mlp": Net(Mlp(widths=(6, 5))),
    "mlp in one block": Net(Mlp(widths=(6, 5)), blocks=1),
    "mlp with dropout": Net(Mlp(widths=(6, 6)), dropout=0.4),
    "cnn": Net(Cnn(widths=(3, 4, 2), norm="group")),
    "cnn without norm": Net(Cnn(widths=(3, 4, 2), norm="none")),
    "cnn in one block": Net(Cnn(widths=(3, 4, 2), norm="none"), blocks=1),
    "resnet": Net(Resnet(depth=8, width=2, norm="group")),
    "resnet in two blocks": Net(Resnet(depth=8, width=2, norm="none"), blocks=2),
    "pointwise": Net(Pointwise(), blocks=1),
    "pointwise with pooling": Net(Pointwise(pool=2), blocks=1),
    "pointwise with norm over all": Net(Pointwise(norm="all"), blocks=1),
    "tied": Net(Tied()),
    "mixer": Net(MIXER),
    "mixer without norm": Net(MIXER.model_copy(update={"norm": False})),
    "mixer in one block": Net(MIXER, blocks=1),
    "deep mixer in two blocks": Net(MIXER.model_copy(update={"depth": 3}), blocks=2),
    "transformer": Net(Vit(patch=4, channels=4, depth=1, heads=2)),
    "convnext": Net(ConvNext(stages=(1, 1), widths=(2, 4), patch=4, scale=0.5)),
}


def make(rule: type[Rule], net: Net, **options: Any) -> Any:
    """Return a rule in float64; all rules have the same initial weights."""
    init = Init(1)
    network = net.spec.build(init, SHAPE, CLASSES, net.dropout)
    network = network if net.blocks is None else network.regrouped(net.blocks)
    return rule(network, Task("toy", SHAPE, CLASSES), rule.Config(**options), init).double()


def batch_of(size: int = 3, seed: int = 2) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, *SHAPE, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (size,), generator=g))


def gradients(rule: Rule, batch: Batch, s: Step | None = None) -> dict[str, Tensor]:
    """Return the gradients that the optimizers receive in one step; no parameter changes."""
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update({name: grad.detach().clone() for name, grad in grads.items()})

    rule.attach({group.name: keep for group in rule.groups()})
    rule.step(batch, s or Step(Randomness(0)))
    return received


def passed(stream: str) -> str:
    """Return the layer, and from its second pass on the pass's number, from a stream's name."""
    return stream.split("/", 2)[2]


def passes(rule: Rule, layers: Sequence[Layer]) -> dict[str, Pass]:
    """Return the passes through some layers in order, named as in :func:`passed`."""
    by_name: dict[str, Pass] = {}
    for layer_pass in rule.network.passes(rule.task.shape):
        layer = layer_pass.layer
        if layer in layers:
            number = 1 + sum(other.layer is layer for other in by_name.values())
            by_name[layer.name if number == 1 else f"{layer.name}/{number}"] = layer_pass
    return by_name


class Basis(Step):
    """For q copies of each example, noise that is sqrt(q) times each of q basis vectors.

    They span the units in some passes through layers, in the order of ``offsets``; all other
    units have no noise. Copies of an example share all other random numbers.
    """

    def __init__(self, offsets: Mapping[str, int], count: int) -> None:
        super().__init__(Randomness(0))
        self.offsets, self.count = offsets, count

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        size = shape[0] // self.count
        if not stream.startswith("perturbation/"):
            rows = super().noise(stream, (size, *shape[1:]), kind)
            return rows.repeat_interleave(self.count, 0)
        start = self.offsets.get(passed(stream))
        if start is None:
            return torch.zeros(shape)
        vectors = math.sqrt(self.count) * torch.eye(self.count, dtype=torch.float64)
        return vectors[:, start : start + math.prod(shape[1:])].repeat(size, 1).view(shape)


def mean_over_basis(rule: Rule, batch: Batch, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Return the mean gradient over an orthonormal basis of the noise, its exact expectation.

    Each example has its own noise and gradients are means over examples, so that one step on
    copies has the whole basis.
    """
    offsets, count = {}, 0
    for name, layer_pass in passes(rule, layers).items():
        offsets[name] = count
        count += layer_pass.shape.numel()
    copies = Batch(batch.x.repeat_interleave(count, 0), batch.target.repeat_interleave(count, 0))
    return gradients(rule, copies, Basis(offsets, count))


class Given(Step):
    """A step with given noise in the first draw, by the end of the stream's name."""

    def __init__(self, given: Mapping[str, Tensor], index: int = 0) -> None:
        super().__init__(Randomness(0), index)
        self.given = given

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        kind_of, _, rest = stream.partition("/")
        if kind_of != "perturbation":
            return super().noise(stream, shape, kind)
        assert kind == "normal"
        return self.given[rest.partition("/")[2]].view(shape).clone()


def noise_of(rule: Rule, names: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """Draw standard normal numbers in float64 for these parameters."""
    g, params = torch.Generator().manual_seed(seed), dict(rule.named_parameters())
    return {name: torch.randn(params[name].shape, generator=g).double() for name in names}


def mean_over_weights(
    rule: Rule, batch: Batch, noisy: Sequence[str], names: Sequence[str], most: int
) -> tuple[list[str], dict[str, Tensor]]:
    """Return the mean gradient over an orthonormal basis of the noise in some weights.

    Args:
        noisy: all parameters that have noise.
        names: parameters that a basis may span; the others have no noise.
        most: the largest size of the basis, with one step per vector; larger parameters are left
            out.

    Returns:
        The names of the parameters that the basis spans, and the gradients.
    """
    params = dict(rule.named_parameters())
    still = {name: torch.zeros_like(params[name]).detach() for name in noisy}
    spanned, count = [], 0
    for name in names:
        if count + params[name].numel() <= most:
            spanned.append(name)
            count += params[name].numel()
    total: dict[str, Tensor] = {}
    for name in spanned:
        for i in range(params[name].numel()):
            vector = torch.zeros_like(params[name]).detach()
            vector.view(-1)[i] = math.sqrt(count)
            for key, grad in gradients(rule, batch, Given(still | {name: vector})).items():
                total[key] = total.get(key, 0) + grad / count
    return spanned, total


def normal_nodes(count: int) -> Iterator[tuple[float, list[float]]]:
    """Return weights and nodes of a cubature for ``count`` independent normal numbers.

    It is exact for polynomials to degree 5 (McNamee & Stenger 1967), as moments show: E x² = 1,
    E x⁴ = 3, E x²y² = 1.
    """
    r = math.sqrt(3)
    yield 1 + count * (count - 7) / 18, [0.0] * count
    for i, a in itertools.product(range(count), (-r, r)):
        yield (4 - count) / 18, [a if k == i else 0.0 for k in range(count)]
    for i, j in itertools.combinations(range(count), 2):
        for a, b in itertools.product((-r, r), repeat=2):
            yield 1 / 36, [a if k == i else b if k == j else 0.0 for k in range(count)]


def expectation(value: Callable[[list[float]], Tensor], count: int) -> Tensor:
    """Return the mean of a polynomial of degree at most 5 in ``count`` normal numbers."""
    return torch.stack([weight * value(node) for weight, node in normal_nodes(count)]).sum(0)


class Nodes(Step):
    """A step whose noise is a node of a cubature, with one number per unit or weight."""

    def __init__(self, node: Sequence[float]) -> None:
        super().__init__(Randomness(0))
        self.left = torch.tensor(node, dtype=torch.float64)

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        assert kind == "normal"
        count = math.prod(shape)
        u, self.left = self.left[:count], self.left[count:]
        return u.view(shape).clone()


def local_gradients(rule: Any, x: Tensor, target: Tensor, s: Step) -> dict[str, Tensor]:
    """Return autograd's gradients of the heads' cross-entropies with detached block inputs."""
    total = torch.zeros((), dtype=torch.float64)
    for block, head in zip(rule.network.blocks, rule.heads, strict=True):
        h = block.activate(block.preactivation(x.detach(), s))
        total = total + F.cross_entropy(head(spatial_mean(h)), target)
        x = block.emit(h, s)
    total = total + F.cross_entropy(rule.network.readout(x.detach()), target)
    named = dict(rule.named_parameters())
    return dict(zip(named, torch.autograd.grad(total, list(named.values())), strict=True))


def assert_same(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Assert that gradients have the same names, and values to 1e-9 of each one's largest entry."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        scale = max(value.abs().max().item(), 1e-3)
        assert (actual[name] - value).abs().max().item() <= 1e-9 * scale, name
