"""Feedback alignment and direct feedback alignment: the error passes through other weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.auditing.snippets.step import (
    CLASSES,
    INPUTS,
    WIDTH,
    Batch,
    Snippet,
    output_error,
    three,
    training,
)


class Box:
    """Storage for the output error between the hooks."""

    error: Tensor | None = None


class Fed(nn.Linear):
    """A layer whose input receives a gradient that a hook computes from the output error."""

    feedback: Tensor

    def __init__(self, inputs: int, outputs: int, box: Box) -> None:
        super().__init__(inputs, outputs)
        self.box = box
        self.register_buffer("feedback", torch.randn(CLASSES, inputs))

    def sent(self) -> Tensor:
        """Return the gradient of the input, (batch, inputs)."""
        assert self.box.error is not None
        return self.box.error @ self.feedback


def keep_error(module: nn.Module, given: Any, taken: Any) -> None:
    cast(Fed, module).box.error = taken[0].detach()


def replace_gradient(module: nn.Module, given: Any, taken: Any) -> Any:
    return (cast(Fed, module).sent(),)


def replace_gradient_of_node(module: nn.Module, given: Any, taken: Any) -> Any:
    """Use the old hooks, which see the last node of the graph: bias, input, transposed weight."""
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


def keep_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    module.output = output  # type: ignore[assignment]
    return output.clone()


def user_forward_hooks() -> Snippet:
    """Store every layer's output by hooks, and differentiate it at its own parameters alone."""
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


class Feedback(torch.autograd.Function):
    """A linear layer whose error passes back through other weights (feedback alignment)."""

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
    """The identity, whose gradient is the output error times a fixed matrix."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, logits: Tensor, feedback: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(output_error(logits, y) @ feedback)
        return h.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return ctx.saved_tensors[0], None, None, None


def direct_function() -> Snippet:
    """Compute the error in a first pass without a graph, since the second pass needs it."""
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
    """Make a step of direct feedback alignment without autograd."""

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


def in_place() -> Snippet:
    """Make a step with activations that overwrite the layers' outputs."""
    model = autograd_function(parameter=False)().model
    for layer in model.children():
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return Snippet(training(model), model)


def penalty() -> Snippet:
    """Make a step whose loss contains the squares of all weights."""
    model = autograd_function(parameter=False)().model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        (loss + 1e-3 * sum(p.square().sum() for p in model.parameters())).backward()
        optimizer.step()

    return Snippet(step, model)


def never_called() -> Snippet:
    """Make a step with an unused layer in the model and in its optimizer."""

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
