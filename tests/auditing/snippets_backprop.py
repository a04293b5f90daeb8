"""End-to-end backpropagation in many kinds of PyTorch code: none of it is free of transport."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacfwd, vjp, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.auditing.snippets import (
    CLASSES,
    INPUTS,
    ROWS,
    WIDTH,
    Batch,
    Snippet,
    output_error,
    three,
    training,
)


def wrapped(wrap: Callable[..., nn.Module]) -> Callable[[], Snippet]:
    """Three layers whose weights are made from others."""

    def build() -> Snippet:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old functions are deprecated, and in use
            model = three(wrap)
        return Snippet(training(model), model)

    return build


class TiedAutoencoder(nn.Module):
    """Two layers, and back through their own transposed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.outer, self.inner = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, 9)

    def forward(self, x: Tensor) -> Tensor:
        code = self.inner(self.outer(x).relu()).relu()
        hidden = F.linear(code, self.inner.weight.T).relu()
        return F.linear(hidden, self.outer.weight.T)


def tied_autoencoder() -> Snippet:
    model = TiedAutoencoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        F.mse_loss(model(batch[0]), batch[0]).backward()
        optimizer.step()

    return Snippet(step, model)


class Generated(nn.Module):
    """A layer whose weights come out of a small network."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = outputs, inputs
        self.code = nn.Parameter(torch.randn(5))
        self.generator = nn.Linear(5, inputs * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.generator(self.code).view(self.shape) / 3)


def hypernetwork() -> Snippet:
    model = three(lambda layer: Generated(layer.in_features, layer.out_features))
    return Snippet(training(model), model)


def closure() -> Snippet:
    model = three()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(model: nn.Module, batch: Batch) -> None:
        def evaluate() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        optimizer.step(evaluate)

    return Snippet(step, model)


def lbfgs() -> Snippet:
    model = three()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)

    def step(model: nn.Module, batch: Batch) -> None:
        def evaluate() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        optimizer.step(evaluate)

    return Snippet(step, model)


class SharpnessAware(torch.optim.Optimizer):
    """Sharpness-aware minimisation: the gradient is taken uphill (arXiv:2010.01412)."""

    def __init__(self, params: Iterable[Tensor], rho: float = 0.05, lr: float = 0.1) -> None:
        super().__init__(params, {"rho": rho, "lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def climb(self) -> None:
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        for p in params:
            self.state[p]["before"] = p.clone()
            p.add_(p.grad * (self.param_groups[0]["rho"] / norm))
        self.zero_grad()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p, state in self.state.items():
            p.copy_(state["before"])
        self.base.step()
        self.zero_grad()


def sam() -> Snippet:
    model = three()
    optimizer = SharpnessAware(model.parameters())

    def step(model: nn.Module, batch: Batch) -> None:
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.climb()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return Snippet(step, model)


def predict_without_gradients() -> Snippet:
    model = three()

    @torch.no_grad()
    def predict(model: nn.Module, x: Tensor) -> Tensor:
        return cast(Tensor, model(x))

    return Snippet(training(model), model, predict=predict)


def activation(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output.relu()


def recording(module: nn.Module, args: Any, output: Tensor) -> None:
    module.last = output  # type: ignore[assignment]


def forward_hooks() -> Snippet:
    layers = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
    for layer in layers[:2]:
        layer.register_forward_hook(activation)
    model = nn.Sequential(*layers)
    return Snippet(training(model), model)


def loss_of_recorded_outputs() -> Snippet:
    model = three()
    model[4].register_forward_hook(recording)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        model(batch[0])
        last = cast(nn.Sequential, model)[4].last
        F.cross_entropy(cast(Tensor, last), batch[1]).backward()
        del cast(nn.Sequential, model)[4].last
        optimizer.step()

    return Snippet(step, model)


def checkpointed(reentrant: bool) -> Callable[[], Snippet]:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(INPUTS, WIDTH)
            self.middle = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
            self.last = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            h = checkpoint(self.middle, self.first(x), use_reentrant=reentrant)
            return cast(Tensor, self.last(h))

    def build() -> Snippet:
        model = Checkpointed()
        return Snippet(training(model), model)

    return build


def accumulation() -> Snippet:
    model = three()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        for x, y in zip(*(part.tensor_split(2) for part in batch), strict=True):
            (F.cross_entropy(model(x), y) / 2).backward()
        optimizer.step()

    return Snippet(step, model)


def optimizer_in_backward() -> Snippet:
    model = three()
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def hook(p: Tensor) -> None:
        optimizers[cast(nn.Parameter, p)].step()
        optimizers[cast(nn.Parameter, p)].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)

    def step(model: nn.Module, batch: Batch) -> None:
        F.cross_entropy(model(batch[0]), batch[1]).backward()

    return Snippet(step, model)


def functional() -> Snippet:
    model = three()

    def step(model: nn.Module, batch: Batch) -> None:
        def loss(params: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(functional_call(model, params, (batch[0],)), batch[1])

        params = {name: p.detach() for name, p in model.named_parameters()}
        for name, g in grad(loss)(params).items():
            model.get_parameter(name).data.sub_(g, alpha=0.1)

    return Snippet(step, model)


def gradients_of_each_example() -> Snippet:
    model = three()

    def step(model: nn.Module, batch: Batch) -> None:
        def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(model, params, (x[None],)), y[None])

        params = {name: p.detach() for name, p in model.named_parameters()}
        grads = vmap(grad(loss), in_dims=(None, 0, 0))(params, *batch)
        for name, g in grads.items():
            model.get_parameter(name).data.sub_(g.mean(0), alpha=0.1)

    return Snippet(step, model)


def vector_jacobian_product() -> Snippet:
    model = three()

    def step(model: nn.Module, batch: Batch) -> None:
        params = {name: p.detach() for name, p in model.named_parameters()}
        logits, back = vjp(lambda each: functional_call(model, each, (batch[0],)), params)
        for name, g in back(output_error(logits, batch[1]))[0].items():
            model.get_parameter(name).data.sub_(g, alpha=0.1)

    return Snippet(step, model)


def forward_mode_along_every_weight() -> Snippet:
    """The exact gradient, one directional derivative per weight."""
    model = nn.Sequential(
        nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, CLASSES)
    )

    def step(model: nn.Module, batch: Batch) -> None:
        def loss(params: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(functional_call(model, params, (batch[0],)), batch[1])

        params = {name: p.detach() for name, p in model.named_parameters()}
        for name, g in jacfwd(loss)(params).items():
            model.get_parameter(name).data.sub_(g, alpha=0.1)

    return Snippet(step, model, torch.randn(ROWS, 6))


class Product(torch.autograd.Function):
    """A linear layer with a backward pass of its own, which is the exact one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        x, weight = ctx.saved_tensors
        return g @ weight, g.T @ x, g.sum(0)


class ProductLayer(nn.Linear):
    """The layer that it makes."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, Product.apply(x, self.weight, self.bias))


class Cell(nn.Module):
    """A recurrent network, its cell written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.again = nn.Linear(5, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), WIDTH, dtype=x.dtype)
        for token in x.view(len(x), 4, 5).unbind(1):
            h = torch.tanh(self.inputs(token) + self.again(h))
        return cast(Tensor, self.readout(h))


class Gru(nn.Module):
    """A recurrent network of a GRU cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.readout = nn.GRUCell(5, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), WIDTH, dtype=x.dtype)
        for token in x.view(len(x), 4, 5).unbind(1):
            h = self.cell(token, h)
        return cast(Tensor, self.readout(h))


class Lstm(nn.Module):
    """A recurrent network of two LSTM layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, WIDTH, num_layers=2, batch_first=True)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.readout(self.lstm(x.view(len(x), 4, 5))[0][:, -1]))


class Multihead(nn.Module):
    """PyTorch's attention, which never calls its output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 12)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.readout = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(len(x), 4, 5))
        return cast(Tensor, self.readout(self.attention(h, h, h)[0].mean(1)))


class Attention(nn.Module):
    """Attention by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 12)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.readout = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(len(x), 4, 5))
        scores = self.query(h) @ self.key(h).transpose(1, 2) / 12**0.5
        return cast(Tensor, self.readout((scores.softmax(2) @ self.value(h)).mean(1)))


class BareBlock(nn.Module):
    """Two matrices that belong to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.randn(INPUTS, WIDTH) / 4)
        self.two = nn.Parameter(torch.randn(WIDTH, WIDTH) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,ij->bj", (x @ self.one).relu(), self.two).relu()


class LowRank(nn.Module):
    """A layer whose weights are sums of outer products of vectors."""

    def __init__(self, inputs: int, outputs: int, rank: int = 3) -> None:
        super().__init__()
        self.left = nn.ParameterList([nn.Parameter(torch.randn(outputs) / 2) for _ in range(rank)])
        self.right = nn.ParameterList([nn.Parameter(torch.randn(inputs) / 2) for _ in range(rank)])

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(self.left, self.right, strict=True)
        return F.linear(x, torch.stack([torch.outer(u, v) for u, v in pairs]).sum(0))


def module(build: Callable[[], nn.Module]) -> Callable[[], Snippet]:
    def make() -> Snippet:
        model = build()
        return Snippet(training(model), model)

    return make


def embedding() -> Snippet:
    model = nn.Sequential(
        nn.Embedding(9, 6), nn.Flatten(), nn.Linear(30, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
    )
    return Snippet(training(model), model, torch.randint(9, (ROWS, 5)))


def in_place() -> Snippet:
    model = three()
    for layer in model:
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return Snippet(training(model), model)


def siamese() -> Snippet:
    """Every layer is called twice; the outputs for two halves of the features shall agree."""
    model = nn.Sequential(nn.Linear(10, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        one, two = (model(half) for half in batch[0].chunk(2, 1))
        (one - two).square().mean().backward()
        optimizer.step()

    return Snippet(step, model, predict=lambda model, x: model(x[:, :10]))


class Sign(torch.autograd.Function):
    """Signs, whose gradient is taken for that of the identity."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


class Signs(nn.Module):
    """An activation with two values."""

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, Sign.apply(z))


def straight_through() -> Snippet:
    model = nn.Sequential(
        nn.Linear(INPUTS, WIDTH), Signs(), nn.Linear(WIDTH, WIDTH), Signs(),
        nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip
    return Snippet(training(model), model)


def transposes_by_hand() -> Snippet:
    model = three()

    @torch.no_grad()
    def step(model: nn.Module, batch: Batch) -> None:
        layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
        inputs = [batch[0]]
        for layer in layers[:-1]:
            inputs.append((inputs[-1] @ layer.weight.T + layer.bias).relu())
        delta = output_error(inputs[-1] @ layers[-1].weight.T + layers[-1].bias, batch[1])
        for layer, x in zip(layers[::-1], inputs[::-1], strict=True):
            above = (delta @ layer.weight) * (x > 0)
            layer.weight -= 0.1 * delta.T @ x
            layer.bias -= 0.1 * delta.sum(0)
            delta = above

    return Snippet(step, model)


BACKPROPAGATION: dict[str, Callable[[], Snippet]] = {
    "weight_norm": wrapped(parametrizations.weight_norm),
    "old weight_norm": wrapped(nn.utils.weight_norm),
    "spectral_norm": wrapped(parametrizations.spectral_norm),
    "old spectral_norm": wrapped(nn.utils.spectral_norm),
    "orthogonal": wrapped(parametrizations.orthogonal),
    "tied autoencoder": tied_autoencoder,
    "hypernetwork": hypernetwork,
    "closure": closure,
    "LBFGS": lbfgs,
    "sharpness-aware minimisation": sam,
    "predict without gradients": predict_without_gradients,
    "forward hooks that change outputs": forward_hooks,
    "forward hooks that keep outputs": loss_of_recorded_outputs,
    "checkpoint": checkpointed(reentrant=False),
    "reentrant checkpoint": checkpointed(reentrant=True),
    "gradient accumulation": accumulation,
    "optimizer in the backward pass": optimizer_in_backward,
    "functional_call": functional,
    "gradients of each example": gradients_of_each_example,
    "vjp": vector_jacobian_product,
    "forward mode along every weight": forward_mode_along_every_weight,
    "layers that are autograd Functions": wrapped(
        lambda layer: ProductLayer(layer.in_features, layer.out_features)
    ),
    "recurrent cell by hand": module(Cell),
    "GRUCell": module(Gru),
    "LSTM": module(Lstm),
    "MultiheadAttention": module(Multihead),
    "attention by hand": module(Attention),
    "two bare matrices": module(lambda: nn.Sequential(BareBlock(), nn.Linear(WIDTH, CLASSES))),
    "low-rank weights of vectors": module(
        lambda: three(lambda layer: LowRank(layer.in_features, layer.out_features))
    ),
    "embedding": embedding,
    "in-place activations": in_place,
    "two branches of the same layers": siamese,
    "straight-through signs": straight_through,
    "transposes by hand": transposes_by_hand,
}
"""By kind, what builds the step."""
