"""Checks of networks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer, tapped
from lbench.network import Network
from lbench.networks.norm import statistics_held
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.testing.part_subject import (
    CLASSES,
    SHAPES,
    NetworkSubject,
    round_trip,
    seed_everything,
    states,
)
from lbench.testing.subject import FailedError, differing, listed

MOST = 12
"""Largest number of groupings that are examined."""


def network_options_round_trip(subject: NetworkSubject) -> None:
    """Check that the network's options survive being written as JSON and read."""
    round_trip(subject.spec, subject.cls, subject.name)


def shapes_build(subject: NetworkSubject) -> str:
    """Check that the network maps images to finite logits, or is refused with a hint."""
    accepted, refused = [], []
    for shape in SHAPES:
        label = "x".join(map(str, shape))
        try:
            network = subject.build(shape).eval()
        except UsageError as error:
            if not error.hint:
                raise FailedError(f"it refuses {label} without a hint: {error.message}") from error
            refused.append(label)
            continue
        with torch.no_grad():
            logits = network(torch.zeros(3, *shape))
        if logits.shape != (3, CLASSES) or not logits.isfinite().all():
            raise FailedError(f"logits on {label} are not finite numbers of shape (3, {CLASSES})")
        accepted.append(label)
    if not accepted:
        raise FailedError(f"it refuses {', '.join(refused)}")
    return ", ".join(accepted) + (f"; refused: {', '.join(refused)}" if refused else "")


def audits_network_builds(subject: NetworkSubject) -> str:
    """Check that the options in ``small`` build the audit's network for images of 3 x 3."""
    spec = subject.spec.model_copy(update=dict(subject.cls.small))
    network = spec.build(Init(0), (1, 3, 3), 3)
    return f"{sum(p.numel() for p in network.parameters()):,} parameters"


def layers_are_named_in_order(subject: NetworkSubject) -> str:
    """Check that layers have names of their own, in the order of the forward pass."""
    network = subject.build(subject.shape)
    names = [layer.name for layer in network.layers]
    if len(set(names)) != len(names) or not all(names):
        raise FailedError(f"layers have equal or empty names: {', '.join(names)}")
    called = dict.fromkeys(layer.name for layer, _ in network.passes(subject.shape))
    last = [block.layers[-1].name for block in network.blocks]
    if set(called) != set(names) or [name for name in called if name in last] != last:
        raise FailedError(f"layers act as {', '.join(called)}, but are listed as {names}")
    return f"{len(names)} layers in {len(network.blocks)} blocks"


def parameters_are_in_layers(subject: NetworkSubject) -> None:
    """Check that all trained parameters of a block are in its layers, each in one layer."""
    network, owners = subject.build(subject.shape), dict[int, str]()
    for layer in network.layers:
        for parameter in layer.parameters():
            if owners.setdefault(id(parameter), layer.name) != layer.name:
                raise FailedError(f"{owners[id(parameter)]} and {layer.name} share a parameter")
    for name, parameter in network.blocks.named_parameters():  # type: ignore[attr-defined]
        if id(parameter) not in owners:
            raise FailedError(f"parameter {name} is in no layer of its block")


def same_seed_same_network(subject: NetworkSubject) -> None:
    """Check that initial weights depend on the seed alone, not on global random numbers."""
    built = []
    for noise, seed in ((1, 0), (2, 0), (1, 1)):
        seed_everything(noise)
        built.append(subject.build(subject.shape, seed).state_dict())
    if names := differing(built[0], built[1]):
        raise FailedError(f"{listed(names)} depend on global random numbers")
    if not differing(built[0], built[2]):
        raise FailedError("another seed gives the same weights")


def grouping_changes_nothing(subject: NetworkSubject) -> str:
    """Check that logits are the same in every grouping of blocks, in both modes."""
    network, x = subject.build(subject.shape), subject.batch()
    counts = list(range(1, len(network.blocks) + 1))
    counts = counts if len(counts) <= MOST else [*counts[: MOST // 2], *counts[-MOST // 2 :]]
    for training in (True, False):
        network.train(training)
        with torch.no_grad(), statistics_held(network):
            expected = network(x)
            for count in counts:
                grouped = network.regrouped(count).train(training)
                if not torch.equal(grouped(x), expected):
                    raise FailedError(f"in {count} blocks the logits are others")
    return f"{counts[0]} to {counts[-1]} blocks"


def blocks_divide_at_z(subject: NetworkSubject) -> None:
    """Check that a block is emit(activate(z)), z stays, and activations are elementwise."""
    network, x = subject.build(subject.shape).eval(), subject.batch(2)
    with torch.no_grad():
        for block in network.blocks:
            outputs: list[Tensor] = []
            with tapped([block.layers[-1]], _collector(outputs)):
                z = block.preactivation(x)
            before = z.clone()
            h = block.activate(z)
            emitted = block.emit(h)
            if not torch.equal(z, before):
                raise FailedError(f"block {block.name} writes into its z")
            if h.shape != z.shape or not torch.equal(outputs[-1], z):
                raise FailedError(f"the z of block {block.name} is not that of its last layer")
            if not torch.equal(emitted, block(x)):
                raise FailedError(f"block {block.name} is not emit(activate(preactivation(x)))")
            moved = z.clone()
            moved.view(-1)[0] += 1 + moved.abs().max()
            changed = (block.activate(moved) != h).view(-1)
            if changed[1:].any():
                raise FailedError(f"the activation of block {block.name} is not elementwise")
            x = emitted


def _collector(outputs: list[Tensor]):  # type: ignore[no-untyped-def]
    def collect(layer: Layer, z: Tensor) -> Tensor:
        outputs.append(z)
        return z

    return collect


def gradients_reach_every_parameter(subject: NetworkSubject) -> None:
    """Check that gradients reach every parameter from the logits and from its block's end."""
    network, x = subject.build(subject.shape), subject.batch(12)
    target = torch.arange(12) % CLASSES
    _reach(network, F.cross_entropy(network(x), target), "the logits")
    for block in network.blocks:
        out = block(x)
        _reach(block, out.square().sum(), f"the end of block {block.name}")
        x = out.detach()


def _reach(module: torch.nn.Module, value: Tensor, what: str) -> None:
    named = dict(module.named_parameters())
    grads = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    missing = [name for name, grad in zip(named, grads, strict=True) if grad is None]
    if missing:
        raise FailedError(f"no gradient reaches {listed(missing)} from {what}")


def predicting_repeats(subject: NetworkSubject) -> None:
    """Check that predictions repeat, change no state, and draw no global random numbers."""
    network: Network = subject.build(subject.shape).eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before, x = states(), subject.batch()
    with torch.no_grad():
        if not torch.equal(network(x), network(x)):
            raise FailedError("the same images give other logits the second time")
    if names := differing(state, network.state_dict()):
        raise FailedError(f"a prediction changes {listed(names)}")
    if states() != before:
        raise FailedError("a prediction draws from a global random generator")


def dropout_is_addressed(subject: NetworkSubject) -> None:
    """Check that dropout acts in a step alone, with the same masks whenever the step repeats."""
    network, x = subject.build(subject.shape, dropout=0.5).train(), subject.batch()
    before = states()
    with torch.no_grad(), statistics_held(network):
        first, again = (network(x, Step(Randomness(0))) for _ in range(2))
        plain = network(x)
    if not torch.equal(first, again) or states() != before:
        raise FailedError("dropout draws other masks when a step repeats")
    if torch.equal(first, plain):
        raise FailedError("build ignores its argument dropout")


CHECKS = (
    network_options_round_trip,
    shapes_build,
    audits_network_builds,
    layers_are_named_in_order,
    parameters_are_in_layers,
    same_seed_same_network,
    grouping_changes_nothing,
    blocks_divide_at_z,
    gradients_reach_every_parameter,
    predicting_repeats,
    dropout_is_addressed,
)
"""The checks in the order of tables."""
