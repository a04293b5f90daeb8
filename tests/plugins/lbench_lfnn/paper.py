"""The paper's losses written out worker by worker, and small rules to compare with them.

No expected value comes from ``lbench_lfnn``: logits, leaders, losses and the path of the output
loss are formulated independently, with loops, float64 and autograd.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from lbench.init import Init
from lbench.network import Block
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task

SPACE: dict[str, tuple[NetworkSpec, tuple[int, int, int]]] = {
    "mlp": (Mlp(widths=(12, 9)), (1, 2, 3)),
    "cnn": (Cnn(widths=(12, 9), norm="group"), (2, 4, 4)),
}
"""Small networks for three classes, and the inputs that they take."""


def make(
    rule: type[Rule],
    net: str | NetworkSpec = "mlp",
    shape: tuple[int, int, int] | None = None,
    *,
    classes: int = 3,
    seed: int = 0,
    dropout: float = 0.0,
    blocks: int | None = None,
    task: type[Task] = Task,
    **options: Any,
) -> Any:
    """Return a rule in float64 on a small network."""
    if isinstance(net, str):
        net, shape = SPACE[net]
    assert shape is not None
    init = Init(seed)
    network = net.build(init, shape, classes, dropout)
    network = network if blocks is None else network.regrouped(blocks)
    config = rule.Config(**options)
    return rule(network, task("toy", shape, classes), config, init).double()


def batch_for(rule: Rule, size: int = 7, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, *rule.task.shape, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(rule.task.classes, (size,), generator=g))


def step(index: int = 0, epoch: int = 0, *, last: bool = False) -> Step:
    return Step(Randomness(0), index, epoch, last=last)


def gradients(rule: Rule, batch: Batch, s: Step | None = None) -> dict[str, Tensor]:
    """Return the gradients that the optimizers receive in one step; no parameter changes."""
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update({name: grad.detach().clone() for name, grad in grads.items()})

    rule.attach({group.name: keep for group in rule.groups()})
    rule.step(batch, s or step())
    return received


def leader_count(leadership: float, workers: int, rounding: str = "round") -> int:
    """Return the number of leaders by exact arithmetic on the decimal fraction."""
    share = Fraction(str(leadership)) * workers
    whole = {
        "round": math.floor(share + Fraction(1, 2)),
        "floor": math.floor(share),
        "ceil": math.ceil(share),
    }[rounding]
    return max(1, whole)


def worker_scores(rule: Any, block: Block, z: Tensor) -> list[Tensor]:
    """Return class logits (batch, classes) of each worker; unit (k*W + w)*m + j is worker w's."""
    classes, m = rule.task.classes, rule.config.units
    count = block.width // (classes * m)
    scores = []
    for w in range(count):
        columns = []
        for k in range(classes):
            first = (k * count + w) * m
            units = z[:, first : first + m]
            if block.convolutional or m > 1:
                columns.append(F.relu(units).flatten(1).mean(1))
            elif rule.config.forward == "relu_softmax":
                columns.append(F.relu(units[:, 0]))
            else:
                columns.append(units[:, 0])
        scores.append(torch.stack(columns, 1))
    return scores


def worker_losses(logits: list[Tensor], target: Tensor) -> Tensor:
    """Return cross-entropies, (batch, workers)."""
    return torch.stack([F.cross_entropy(s, target, reduction="none") for s in logits], 1)


def lowest(losses: list[float], n: int) -> list[int]:
    """Return the n workers of lowest loss, best first."""
    return sorted(range(len(losses)), key=lambda w: losses[w])[:n]


def choose(
    rule: Any, logits: list[Tensor], target: Tensor, history: Tensor | None = None
) -> list[list[int]]:
    """Return the leaders for each example, best first; ``history`` replaces the batch's losses."""
    n = leader_count(rule.config.leadership, len(logits), rule.config.rounding)
    losses = worker_losses(logits, target).detach()
    if rule.config.selection == "example":
        return [lowest(row.tolist(), n) for row in losses]
    ranked = losses.mean(0) if history is None else history
    return [lowest(ranked.tolist(), n)] * len(target)


def local_losses(
    rule: Any,
    block: Block,
    z: Tensor,
    target: Tensor,
    leaders: list[list[int]],
    *,
    at: Tensor | None = None,
    picks: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return L_lead and L_fol of a block, summed term by term.

    ``at`` is the z at which the reference is evaluated as a constant (default: ``z``); ``picks``
    has the worker that followers copy on each example (default: by the option, unless random).
    """
    options, logits = rule.config, worker_scores(rule, block, z)
    fixed = worker_scores(rule, block, (z if at is None else at).detach())
    count, n, size, classes = len(logits), len(leaders[0]), len(target), rule.task.classes
    losses = worker_losses(logits, target)
    lead = follow = z.new_zeros(())
    for b, example_leaders in enumerate(leaders):

        def copied(s: Tensor, b: int = b) -> Tensor:
            return s[b] if options.follow == "logits" else s[b].softmax(0)

        if options.reference == "mean" and picks is None:
            reference = sum(copied(fixed[w]) for w in example_leaders) / n
        else:
            reference = copied(fixed[picks[b] if picks else example_leaders[0]])
        for w in range(count):
            if w in example_leaders:
                lead = lead + losses[b, w] / (size * (n if options.leader_loss == "mean" else 1))
            else:
                gap = copied(logits[w]) - reference
                follow = follow + gap.square().sum() / ((count - n) * size * classes)
    return lead, follow


def unit_mask(rule: Any, block: Block, leaders: list[list[int]]) -> Tensor:
    """Return 1 at the units of each example's leaders and 0 elsewhere, (batch, width)."""
    classes, m = rule.task.classes, rule.config.units
    count = block.width // (classes * m)
    mask = torch.zeros(len(leaders), block.width, dtype=torch.float64)
    for b, example_leaders in enumerate(leaders):
        for w in example_leaders:
            for k in range(classes):
                first = (k * count + w) * m
                mask[b, first : first + m] = 1
    return mask


def activation(rule: Any, block: Block, z: Tensor) -> Tensor:
    """Return the activation of a block's units."""
    classes, m = rule.task.classes, rule.config.units
    if block.convolutional or m > 1 or rule.config.forward == "relu":
        return F.relu(z)
    h = torch.empty_like(z)
    count = block.width // classes
    for w, s in enumerate(worker_scores(rule, block, z)):
        h[:, w::count] = s.softmax(1)
    return h


def lfnn_loss(rule: Any, batch: Batch, *, through: bool = False, s: Step | None = None) -> Tensor:
    """Return L = L_g + lambda1 L_lead + lambda2 L_fol, to be differentiated by autograd.

    In the path of the output loss a block's output is m*y + (1-m)*sg(y). With ``through`` only
    the *parameters* of followers are constants there, and the error passes to their input.
    """
    x, total = batch.x, torch.zeros((), dtype=torch.float64)
    for block in rule.network.blocks:
        local_z = block.preactivation(x.detach(), s)
        leaders = choose(rule, worker_scores(rule, block, local_z), batch.target)
        lead, follow = local_losses(rule, block, local_z, batch.target, leaders)
        total = total + rule.config.lambda1 * lead + rule.config.lambda2 * follow
        z = block.preactivation(x, s)
        m = unit_mask(rule, block, leaders)
        m = m[..., None, None] if block.convolutional else m
        if through:
            constants = {name: p.detach() for name, p in block.layer.named_parameters()}
            frozen = functional_call(block.layer, constants, (x,))
        else:
            frozen = z.detach()
        # Workers do not mix before h, so masking z is masking y.
        h = activation(rule, block, m * z + (1 - m) * frozen)
        x = block.emit(h, s)
    return total + F.cross_entropy(rule.network.readout(x), batch.target)


def autograd(rule: Rule, loss: Tensor) -> dict[str, Tensor]:
    named = dict(rule.named_parameters())
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(named.items(), grads, strict=True)
    }


def assert_same(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, tolerance: float = 1e-12
) -> None:
    """Assert the same names and values, to a tolerance relative to each one's largest entry."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        scale = max(value.abs().max().item(), 1e-3)
        worst = (actual[name] - value).abs().max().item()
        assert worst <= tolerance * scale, f"{name}: differs by {worst} of {scale}"
