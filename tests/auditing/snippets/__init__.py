"""Plain PyTorch training steps by name: end-to-end backpropagation, and local learning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tests.auditing.snippets import (
    contrast,
    feedback,
    functional,
    heads,
    layers,
    optimizers,
    passes,
    sequences,
)
from tests.auditing.snippets.step import CLASSES, WIDTH, Case, Snippet, three, trained

BACKPROPAGATION: dict[str, Callable[[], Snippet]] = {
    "weight_norm": layers.wrapped(parametrizations.weight_norm),
    "old weight_norm": layers.wrapped(nn.utils.weight_norm),
    "spectral_norm": layers.wrapped(parametrizations.spectral_norm),
    "old spectral_norm": layers.wrapped(nn.utils.spectral_norm),
    "orthogonal": layers.wrapped(parametrizations.orthogonal),
    "tied autoencoder": layers.tied_autoencoder,
    "hypernetwork": layers.hypernetwork,
    "closure": optimizers.closure,
    "LBFGS": optimizers.lbfgs,
    "sharpness-aware minimisation": optimizers.sam,
    "predict without gradients": passes.predict_without_gradients,
    "forward hooks that change outputs": passes.forward_hooks,
    "forward hooks that keep outputs": passes.loss_of_recorded_outputs,
    "checkpoint": passes.checkpointed(reentrant=False),
    "reentrant checkpoint": passes.checkpointed(reentrant=True),
    "gradient accumulation": optimizers.accumulation,
    "optimizer in the backward pass": optimizers.optimizer_in_backward,
    "functional_call": functional.functional,
    "gradients of each example": functional.gradients_of_each_example,
    "vjp": functional.vector_jacobian_product,
    "forward mode along every weight": functional.forward_mode_along_every_weight,
    "layers that are autograd Functions": layers.wrapped(
        lambda layer: layers.ProductLayer(layer.in_features, layer.out_features)
    ),
    "recurrent cell by hand": trained(sequences.Cell),
    "GRUCell": trained(sequences.Gru),
    "LSTM": trained(sequences.Lstm),
    "MultiheadAttention": trained(sequences.Multihead),
    "attention by hand": trained(sequences.Attention),
    "two bare matrices": trained(
        lambda: nn.Sequential(layers.BareBlock(), nn.Linear(WIDTH, CLASSES))
    ),
    "low-rank weights of vectors": trained(
        lambda: three(lambda layer: layers.LowRank(layer.in_features, layer.out_features))
    ),
    "embedding": layers.embedding,
    "in-place activations": layers.in_place,
    "two branches of the same layers": passes.siamese,
    "straight-through signs": layers.straight_through,
    "transposes by hand": passes.transposes_by_hand,
}
"""Builders of steps, by kind."""

HONEST: dict[str, Case] = {
    "DFA by full backward hooks": Case(feedback.full_backward_hooks, locked=True),
    "DFA by register_backward_hook": Case(feedback.legacy_backward_hooks, locked=True),
    "DFA by forward hooks": Case(feedback.user_forward_hooks, locked=True),
    "feedback alignment in a Function": Case(
        feedback.autograd_function(parameter=False), locked=True
    ),
    "DFA in a Function": Case(feedback.direct_function, locked=True),
    "feedback that asks for gradients": Case(
        feedback.autograd_function(parameter=True), locked=True
    ),
    "updates by hand": Case(feedback.by_hand(0.1)),
    "updates by hand, rate 0.01": Case(feedback.by_hand(1e-2)),
    "updates by hand, rate 0.0001": Case(feedback.by_hand(1e-4)),
    "weight decay by hand": Case(feedback.by_hand(1e-2, decay=0.1)),
    "weights clipped by hand": Case(feedback.by_hand(1e-2, clip=0.2)),
    "layers called twice, by hand, rate 0.01": Case(contrast.contrast_by_hand),
    "feedback alignment with in-place activations": Case(feedback.in_place),
    "squared weights in the loss": Case(feedback.penalty),
    "a layer that is never called": Case(feedback.never_called),
    "forward-forward, ReLU inside": Case(contrast.goodness(torch.relu), locked=False),
    "forward-forward, GELU inside": Case(contrast.goodness(F.gelu), locked=False),
    "forward-forward, tanh inside": Case(contrast.goodness(torch.tanh), locked=False),
    "forward-forward, leaky ReLU inside": Case(contrast.goodness(F.leaky_relu), locked=False),
    "forward-forward, layers that are linear": Case(
        contrast.forward_forward(contrast.GoodnessLinear), locked=False
    ),
    "detach inside forward": Case(heads.detach_in_forward(), "full", 1, locked=False),
    "weight-normed blocks and heads": Case(
        heads.detach_in_forward(parametrizations.weight_norm), "full", 1, locked=False
    ),
    "a head that the blocks share": Case(
        heads.detach_in_forward(shared=True), "full", 1, locked=False
    ),
    "decoders of tied weights": Case(heads.tied_decoders, "full", 1, locked=False),
    "a recurrent block, detached in time": Case(heads.recurrent(False), "full", 1, locked=False),
    "a recurrent block, through time": Case(heads.recurrent(True), "full", 4, locked=False),
    "a forward gradient by jvp": Case(functional.forward_gradient, "scalar"),
}
"""Builders of steps with the right verdict, by kind."""
