"""Steps made with torch.func: the gradient in four ways, and one directional derivative."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacfwd, jvp, vjp, vmap
from torch.nn import functional as F

from tests.auditing.snippets.step import CLASSES, ROWS, Batch, Snippet, output_error, three


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
        logits, back = vjp(lambda weights: functional_call(model, weights, (batch[0],)), params)
        for name, g in back(output_error(logits, batch[1]))[0].items():
            model.get_parameter(name).data.sub_(g, alpha=0.1)

    return Snippet(step, model)


def forward_mode_along_every_weight() -> Snippet:
    """Compute the exact gradient by one directional derivative per weight."""
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


def forward_gradient() -> Snippet:
    """Use one directional derivative of the loss of the whole batch, times its direction."""
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
