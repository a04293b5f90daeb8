"""Local learning in plain PyTorch code, with what its audit must measure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from tests.auditing.snippets import (
    CLASSES,
    INPUTS,
    WIDTH,
    Batch,
    Snippet,
    output_error,
    three,
    training,
)


@dataclass
class Case:
    """A training step and the right verdict on it.

    Args:
        build: makes the step.
        transport: the strongest of the kinds.
        depth: the longest chain of layers whose transposed weights reach an update.
        locked: whether a layer waits for those above; None where this is not the question.
    """

    build: Callable[[], Snippet]
    transport: Literal["none", "scalar", "sign", "full"] = "none"
    depth: int = 0
    locked: bool | None = None

    @property
    def bp_free(self) -> bool:
        """As claims say it."""
        return self.transport in ("none", "scalar")


# Direct feedback alignment: the output error reaches each layer through a matrix of its own.


class Box:
    """Where the hook at the output puts the error, for the hooks below."""

    error: Tensor | None = None


class Fed(nn.Linear):
    """A layer whose input gets a gradient that a hook has made from the output error."""

    feedback: Tensor

    def __init__(self, inputs: int, outputs: int, box: Box) -> None:
        super().__init__(inputs, outputs)
        self.box = box
        self.register_buffer("feedback", torch.randn(CLASSES, inputs))

    def sent(self) -> Tensor:
        """(batch, inputs)."""
        assert self.box.error is not None
        return self.box.error @ self.feedback


def keep_error(module: nn.Module, given: Any, taken: Any) -> None:
    cast(Fed, module).box.error = taken[0].detach()


def replace_gradient(module: nn.Module, given: Any, taken: Any) -> Any:
    return (cast(Fed, module).sent(),)


def replace_gradient_of_node(module: nn.Module, given: Any, taken: Any) -> Any:
    """The old hooks see the last node of the graph, which adds: bias, input, transposed weight."""
    bias, x, weight = given
    return bias, None if x is None else cast(Fed, module).sent(), weight


def fed_network() -> nn.Sequential:
    box = Box()
    return nn.Sequential(
        nn.Linear(INPUTS, WIDTH), nn.Tanh(), Fed(WIDTH, WIDTH, box), nn.Tanh(),
        Fed(WIDTH, CLASSES, box),
    )  # fmt: skip


def full_backward_hooks() -> Snippet:
    model = fed_network()
    model[4].register_full_backward_pre_hook(lambda module, taken: keep_error(module, None, taken))
    for layer in (model[2], model[4]):
        layer.register_full_backward_hook(replace_gradient)
    return Snippet(training(model), model)


def legacy_backward_hooks() -> Snippet:
    model = fed_network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model[4].register_backward_hook(keep_error)
        for layer in (model[2], model[4]):
            layer.register_backward_hook(replace_gradient_of_node)
    return Snippet(training(model), model)


def user_forward_hooks() -> Snippet:
    """Hooks keep every layer's output; each is differentiated at its own parameters alone."""
    model = three()
    layers = [model[0], model[2], model[4]]
    for layer in layers:
        layer.register_forward_hook(keep_output)
    for layer in layers[:2]:
        layer.register_buffer("feedback", torch.randn(CLASSES, WIDTH))

    def step(model: nn.Module, batch: Batch) -> None:
        error = output_error(model(batch[0]), batch[1])
        for layer in [m for m in model.children() if isinstance(m, nn.Linear)]:
            z = cast(Tensor, layer.output)
            hidden = hasattr(layer, "feedback")
            sent = (error @ cast(Tensor, layer.feedback)) * (z > 0) if hidden else error
            grads = torch.autograd.grad(z, [layer.weight, layer.bias], sent)
            with torch.no_grad():
                layer.weight -= 0.1 * grads[0]
                layer.bias -= 0.1 * grads[1]
            del layer.output

    return Snippet(step, model)


def keep_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    module.output = output  # type: ignore[assignment]
    return output.clone()


class Feedback(torch.autograd.Function):
    """A linear layer whose error goes back through other weights (feedback alignment)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(x, feedback)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        x, feedback = ctx.saved_tensors
        return g @ feedback, g.T @ x, g.sum(0), None


class Aligned(nn.Linear):
    """A layer of feedback alignment; its feedback may be a parameter, as in some published code."""

    def __init__(self, inputs: int, outputs: int, *, parameter: bool) -> None:
        super().__init__(inputs, outputs)
        feedback = torch.randn(outputs, inputs)
        if parameter:
            self.feedback = nn.Parameter(feedback)
        else:
            self.register_buffer("feedback", feedback)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, Feedback.apply(x, self.weight, self.bias, self.feedback))


def autograd_function(*, parameter: bool) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = three(
            lambda layer: Aligned(layer.in_features, layer.out_features, parameter=parameter)
        )
        return Snippet(training(model), model)

    return build


class Direct(torch.autograd.Function):
    """Nothing on the way forward; on the way back the output error through a fixed matrix."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, logits: Tensor, feedback: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(output_error(logits, y) @ feedback)
        return h.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return ctx.saved_tensors[0], None, None, None


def direct_function() -> Snippet:
    """The error is that of a first pass without a graph, as the second pass needs it."""
    model = three()
    feedback = torch.randn(2, CLASSES, WIDTH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        x, y = batch
        layers = cast(nn.Sequential, model)
        with torch.no_grad():
            logits = model(x)
        optimizer.zero_grad()
        h = x
        for layer, matrix in zip((layers[0], layers[2]), feedback, strict=True):
            h = Direct.apply(layer(h).relu(), logits, matrix, y)
        F.cross_entropy(layers[4](h), y).backward()
        optimizer.step()

    return Snippet(step, model)


def by_hand(lr: float, decay: float = 0.0, clip: float = 0.0) -> Callable[[], Snippet]:
    """Direct feedback alignment without autograd."""

    def build() -> Snippet:
        model = three()
        feedback = torch.randn(2, CLASSES, WIDTH)

        @torch.no_grad()
        def step(model: nn.Module, batch: Batch) -> None:
            layers = [m for m in model.children() if isinstance(m, nn.Linear)]
            inputs = [batch[0]]
            for layer in layers[:-1]:
                inputs.append(layer(inputs[-1]).relu())
            error = output_error(layers[-1](inputs[-1]), batch[1])
            deltas = [(error @ b) * (h > 0) for b, h in zip(feedback, inputs[1:], strict=True)]
            for layer, x, delta in zip(layers, inputs, [*deltas, error], strict=True):
                if decay:
                    layer.weight.mul_(1 - lr * decay)
                layer.weight.sub_(lr * delta.T @ x)
                layer.bias.sub_(lr * delta.sum(0))
                if clip:
                    layer.weight.clamp_(-clip, clip)

        return Snippet(step, model)

    return build


def contrast_by_hand() -> Snippet:
    """Every layer is called twice and its weights move by hand, as in forward-forward."""
    model = nn.Sequential(*(GoodnessLinear(n, WIDTH) for n in (INPUTS, WIDTH, WIDTH)))

    @torch.no_grad()
    def step(model: nn.Module, batch: Batch) -> None:
        x, y = batch
        positive, negative = labelled(x, y), labelled(x, (y + 1) % CLASSES)
        for layer in [m for m in model.children() if isinstance(m, nn.Linear)]:
            good, bad = layer(positive), layer(negative)
            more = good.T @ layer.scaled(positive) - bad.T @ layer.scaled(negative)
            layer.weight += 0.01 * more / len(x)
            positive, negative = good, bad

    return Snippet(step, model, predict=by_goodness)


def in_place() -> Snippet:
    """Feedback alignment with activations that overwrite the layers' outputs."""
    model = autograd_function(parameter=False)().model
    for layer in model.children():
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return Snippet(training(model), model)


def penalty() -> Snippet:
    """Feedback alignment whose loss has the squares of all weights in it."""
    model = autograd_function(parameter=False)().model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        (loss + 1e-3 * sum(p.square().sum() for p in model.parameters())).backward()
        optimizer.step()

    return Snippet(step, model)


def never_called() -> Snippet:
    """A layer that is left over from an earlier version, in the model and in its optimizer."""

    class Leftover(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = autograd_function(parameter=False)().model
            self.unused = nn.Linear(7, 9)

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.used(x))

    model = Leftover()
    units = {str(k): [cast(nn.Sequential, model.used)[k]] for k in (0, 2, 4)}
    return Snippet(training(model), model, units=units)


# Forward-forward: a layer with its activation inside is called on positives and on negatives.


class GoodnessLayer(nn.Module):
    """Normalises its input, then a linear layer and an activation."""

    def __init__(self, inputs: int, outputs: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x / (x.norm(dim=1, keepdim=True) + 1e-4)))


class GoodnessLinear(nn.Linear):
    """The same as a layer that is called itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.scaled(x)).relu()

    @staticmethod
    def scaled(x: Tensor) -> Tensor:
        """Inputs of norm 1."""
        return x / (x.norm(dim=1, keepdim=True) + 1e-4)


def labelled(x: Tensor, y: Tensor) -> Tensor:
    """Inputs whose first numbers say a label."""
    return torch.cat([F.one_hot(y, CLASSES).to(x), x[:, CLASSES:]], 1)


def forward_forward(layer: Callable[[int, int], nn.Module]) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = nn.Sequential(layer(INPUTS, WIDTH), layer(WIDTH, WIDTH), layer(WIDTH, WIDTH))
        optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in model]

        def step(model: nn.Module, batch: Batch) -> None:
            x, y = batch
            positive, negative = labelled(x, y), labelled(x, (y + 1) % CLASSES)
            for each, optimizer in zip(model.children(), optimizers, strict=True):
                good, bad = each(positive), each(negative)
                goodness = good.square().mean(1), bad.square().mean(1)
                loss = F.softplus(torch.cat([0.5 - goodness[0], goodness[1] - 0.5])).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                positive, negative = good.detach(), bad.detach()

        return Snippet(step, model, predict=by_goodness)

    return build


@torch.no_grad()
def by_goodness(model: nn.Module, x: Tensor) -> Tensor:
    found = []
    for label in range(CLASSES):
        h, total = labelled(x, torch.full((len(x),), label)), torch.zeros(len(x), dtype=x.dtype)
        for each in model.children():
            h = each(h)
            total = total + h.square().mean(1)
        found.append(total)
    return torch.stack(found, 1)


# Local heads.


class LocalHeads(nn.Module):
    """Blocks with a head each; what a block passes on is detached inside ``forward``."""

    def __init__(
        self, wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer, shared: bool = False
    ) -> None:
        super().__init__()
        sizes = [INPUTS, WIDTH, WIDTH, WIDTH]
        self.blocks = nn.ModuleList(wrap(nn.Linear(*sizes[k : k + 2])) for k in range(3))
        one = wrap(nn.Linear(WIDTH, CLASSES))
        self.heads = nn.ModuleList(
            one if shared else wrap(nn.Linear(WIDTH, CLASSES)) for _ in self.blocks
        )
        self.logits: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x.detach()).relu()
            found.append(head(x))
        self.logits = found
        return found[-1]


def detach_in_forward(
    wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer, shared: bool = False
) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = LocalHeads(wrap, shared)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        def step(model: nn.Module, batch: Batch) -> None:
            local = cast(LocalHeads, model)
            local(batch[0])
            optimizer.zero_grad()
            for logits in local.logits:
                F.cross_entropy(logits, batch[1]).backward()
            optimizer.step()
            local.logits = []

        pairs = list(zip(model.blocks, model.heads, strict=True))
        units: dict[str, list[nn.Module]] = {
            f"block{k}": [block] if shared else [block, head]
            for k, (block, head) in enumerate(pairs)
        }
        if shared:
            units["head"] = [model.heads[0]]
        return Snippet(step, model, units=units, predict=without_a_graph)

    return build


@torch.no_grad()
def without_a_graph(model: nn.Module, x: Tensor) -> Tensor:
    logits = cast(Tensor, model(x))
    cast(LocalHeads, model).logits = []
    return logits


class TiedLayer(nn.Linear):
    """A layer that is trained to reconstruct its input through its own transposed weights."""

    def reconstruct(self, h: Tensor) -> Tensor:
        """(batch, outputs) to (batch, inputs)."""
        return F.linear(h, self.weight.T)


def tied_decoders() -> Snippet:
    model = three(lambda layer: TiedLayer(layer.in_features, layer.out_features))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        h = batch[0]
        for layer in [m for m in model.children() if isinstance(m, TiedLayer)]:
            x, h = h.detach(), layer(h.detach()).relu()
            F.mse_loss(layer.reconstruct(h), x).backward()
        optimizer.step()

    return Snippet(step, model)


class RecurrentBlock(nn.Module):
    """A recurrent block with a head of its own, and a readout that is trained apart."""

    def __init__(self, through_time: bool) -> None:
        super().__init__()
        self.through_time = through_time
        self.inputs, self.again = nn.Linear(5, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def states(self, x: Tensor) -> list[Tensor]:
        """(batch, units) after each of four inputs."""
        h = torch.zeros(len(x), WIDTH, dtype=x.dtype)
        found = []
        for token in x.view(len(x), 4, 5).unbind(1):
            h = torch.tanh(self.inputs(token) + self.again(h if self.through_time else h.detach()))
            found.append(h)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.readout(self.states(x)[-1].detach()))


def recurrent(through_time: bool) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = RecurrentBlock(through_time)
        local = [*model.inputs.parameters(), *model.again.parameters(), *model.head.parameters()]
        first = torch.optim.SGD(local, lr=0.1)
        second = torch.optim.SGD(model.readout.parameters(), lr=0.1)

        def step(model: nn.Module, batch: Batch) -> None:
            block = cast(RecurrentBlock, model)
            states = block.states(batch[0])
            first.zero_grad()
            losses = [F.cross_entropy(block.head(h), batch[1]) for h in states]
            (losses[-1] if through_time else torch.stack(losses).sum()).backward()
            first.step()
            second.zero_grad()
            F.cross_entropy(block.readout(states[-1].detach()), batch[1]).backward()
            second.step()

        units = {
            "block": [model.inputs, model.again, model.head],
            "readout": [model.readout],
        }
        return Snippet(step, model, units=units)

    return build


def forward_gradient() -> Snippet:
    """One directional derivative of the loss for the whole batch, times its direction."""
    model = three()

    def step(model: nn.Module, batch: Batch) -> None:
        def loss(params: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(functional_call(model, params, (batch[0],)), batch[1])

        params = {name: p.detach() for name, p in model.named_parameters()}
        direction = {name: torch.randn_like(p) for name, p in params.items()}
        _, slope = jvp(loss, (params,), (direction,))
        for name, u in direction.items():
            model.get_parameter(name).data.sub_(0.01 * slope * u)

    return Snippet(step, model)


def goodness(activation: Callable[[Tensor], Tensor]) -> Callable[[], Snippet]:
    return forward_forward(lambda inputs, outputs: GoodnessLayer(inputs, outputs, activation))


HONEST: dict[str, Case] = {
    "DFA by full backward hooks": Case(full_backward_hooks, locked=True),
    "DFA by register_backward_hook": Case(legacy_backward_hooks, locked=True),
    "DFA by forward hooks": Case(user_forward_hooks, locked=True),
    "feedback alignment in a Function": Case(autograd_function(parameter=False), locked=True),
    "DFA in a Function": Case(direct_function, locked=True),
    "feedback that asks for gradients": Case(autograd_function(parameter=True), locked=True),
    "updates by hand": Case(by_hand(0.1)),
    "updates by hand, rate 0.01": Case(by_hand(1e-2)),
    "updates by hand, rate 0.0001": Case(by_hand(1e-4)),
    "weight decay by hand": Case(by_hand(1e-2, decay=0.1)),
    "weights clipped by hand": Case(by_hand(1e-2, clip=0.2)),
    "layers called twice, by hand, rate 0.01": Case(contrast_by_hand),
    "feedback alignment with in-place activations": Case(in_place),
    "squared weights in the loss": Case(penalty),
    "a layer that is never called": Case(never_called),
    "forward-forward, ReLU inside": Case(goodness(torch.relu), locked=False),
    "forward-forward, GELU inside": Case(goodness(F.gelu), locked=False),
    "forward-forward, tanh inside": Case(goodness(torch.tanh), locked=False),
    "forward-forward, leaky ReLU inside": Case(goodness(F.leaky_relu), locked=False),
    "forward-forward, layers that are linear": Case(forward_forward(GoodnessLinear), locked=False),
    "detach inside forward": Case(detach_in_forward(), "full", 1, locked=False),
    "weight-normed blocks and heads": Case(detach_in_forward(weight_norm), "full", 1, locked=False),
    "a head that the blocks share": Case(detach_in_forward(shared=True), "full", 1, locked=False),
    "decoders of tied weights": Case(tied_decoders, "full", 1, locked=False),
    "a recurrent block, detached in time": Case(recurrent(False), "full", 1, locked=False),
    "a recurrent block, through time": Case(recurrent(True), "full", 4, locked=False),
    "a forward gradient by jvp": Case(forward_gradient, "scalar"),
}
"""By kind, what builds the step, and the right verdict."""
