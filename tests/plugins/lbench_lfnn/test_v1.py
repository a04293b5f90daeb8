"""lfnn_l_v1: the released notebooks' parameters and losses, and the gradients of each group."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.data.digits import Digits
from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.lfnn_v1 import LfnnV1
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.task import Batch
from lbench.training.optim import Update
from lbench_lfnn.lfnn_l_v1 import LfnnLV1

from . import paper

CLASSES = 3
SHAPE = (1, 4, 4)
NETS: dict[str, NetworkSpec] = {
    "mlp": Mlp(widths=(7, 6)),
    "cnn": Cnn(widths=(6, 5, 4)),
    "resnet": Resnet(depth=8, width=4),
    "mixer": LocalMixer(patches=2, channels=6, groups=2, depth=2),
}
NET = pytest.mark.parametrize("net", NETS)


def features(rule: LfnnLV1, x: Tensor) -> list[Tensor]:
    """Return the flattened output of each block in training mode."""
    outputs = []
    for block in rule.network.blocks:
        x = block(x).detach()
        outputs.append(x.flatten(1))
    return outputs


def worker_scores(rule: LfnnLV1, x: Tensor) -> list[Tensor]:
    """Return logits (batch, classes) of each worker, from its own rows of the layer's weight."""
    last, scores = features(rule, x)[-1], []
    for w in range(rule.config.workers):
        rows = slice(w * CLASSES, (w + 1) * CLASSES)
        scores.append(F.relu(F.linear(last, rule.workers.weight[rows], rule.workers.bias[rows])))
    return scores


def gates(rule: LfnnLV1, logits: list[Tensor]) -> Tensor:
    """Return the logits of the gate, (batch, workers), for detached probabilities."""
    p = torch.cat([s.softmax(1) for s in logits], 1).detach()
    gating: Tensor = F.linear(p, rule.gate.weight, rule.gate.bias)
    return gating


def leading_pairs(rule: LfnnLV1, logits: list[Tensor], target: Tensor) -> Tensor:
    """Return 1 where a pair's loss is at most NumPy's percentile of the nearest rank."""
    losses = paper.worker_losses(logits, target).detach()
    threshold = np.percentile(losses.numpy(), 100 * rule.config.leadership, method="nearest")
    return (losses <= threshold).double()


# The released networks


@pytest.mark.parametrize(
    ("widths", "shape", "workers", "published"),
    [
        ((128, 64, 64, 128), (1, 28, 28), 4, 626_298),
        ((128, 64, 82, 128), (3, 32, 32), 5, 876_245),
    ],
)
def test_the_released_networks_have_their_published_number_of_parameters(
    widths: tuple[int, ...], shape: tuple[int, int, int], workers: int, published: int
) -> None:
    """Theirs also have a BatchNorm behind each of two pools, with four numbers per channel."""
    init = Init(0)
    network = Cnn(widths=widths, norm="none").build(init, shape, 10).regrouped(2)
    task = paper.Task("toy", shape, 10)
    rule = LfnnLV1(network, task, LfnnLV1.Config(workers=workers), init)
    norms = 4 * (widths[1] + widths[3])
    assert sum(p.numel() for p in rule.parameters()) + norms == published


def test_a_normalisation_behind_pooling_sees_every_batch_once() -> None:
    init = Init(0)
    network = LfnnV1(widths=(6, 5, 4, 5)).build(init, (1, 8, 8), CLASSES)
    rule = LfnnLV1(network, paper.Task("toy", (1, 8, 8), CLASSES), LfnnLV1.Config(), init)
    norms = [m for m in rule.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [int(norm.num_batches_tracked) for norm in norms] == [0, 0]
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    rule.step(Batch(torch.rand(8, 1, 8, 8), torch.arange(8) % CLASSES), Step(Randomness(0)))
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 1]


# Losses


@NET
def test_every_group_has_the_gradient_of_its_own_loss(net: str) -> None:
    rule = paper.make(LfnnLV1, NETS[net], SHAPE, gate_steps=1)
    batch = paper.batch_for(rule)
    actual, expected = paper.gradients(rule, batch), {}

    def expect(loss: Tensor, prefix: str, module: torch.nn.Module) -> None:
        params = {f"{prefix}.{name}": p for name, p in module.named_parameters()}
        grads = torch.autograd.grad(loss, list(params.values()), retain_graph=True)
        expected.update(zip(params, grads, strict=True))

    x = batch.x
    for k, (block, head) in enumerate(zip(rule.network.blocks, rule.heads, strict=True)):
        h = block(x)
        loss = F.cross_entropy(head(h.flatten(1)), batch.target)
        expect(loss, f"network.blocks.{k}", block)
        expect(loss, f"heads.{k}", head)
        x = h.detach()

    logits = worker_scores(rule, batch.x)
    expect(paper.worker_losses(logits, batch.target).mean(), "workers", rule.workers)

    gating = gates(rule, logits)
    gated = [s.softmax(1) * gating[:, [w]].sigmoid() for w, s in enumerate(logits)]
    output = rule.network.readout
    loss = F.cross_entropy(output(torch.cat(gated, 1).detach()), batch.target)
    expect(loss, "network.readout", output)

    leads = leading_pairs(rule, logits, batch.target)
    assert 0 < leads.mean() < 1
    sigmoid = gating.sigmoid()
    bce = -(leads * sigmoid.log() + (1 - leads) * (1 - sigmoid).log()).mean()
    expect(bce, "gate", rule.gate)

    assert actual.keys() == expected.keys() == dict(rule.named_parameters()).keys()
    for name, grad in expected.items():
        torch.testing.assert_close(actual[name], grad, rtol=1e-9, atol=1e-12)


def test_an_aligned_gate_cancels_out_of_the_released_loss() -> None:
    """Its loss first normalises over classes; without that, a constant gate has no gradient."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(5, CLASSES, generator=g, dtype=torch.float64, requires_grad=True)
    gate = torch.rand(5, 1, generator=g, dtype=torch.float64)
    rows, target = torch.arange(5), torch.tensor([0, 1, 2, 0, 1])
    gated = z.softmax(1) * gate
    released = -(gated / gated.sum(1, keepdim=True))[rows, target].log().mean()
    plain = -gated[rows, target].log().mean()
    own = F.cross_entropy(z, target)
    torch.testing.assert_close(released, own)
    for loss in (released, plain):
        one, other = (torch.autograd.grad(value, z, retain_graph=True)[0] for value in (loss, own))
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("leadership", [0.0, 0.05, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("size", [1, 6, 7, 25])
def test_leaders_are_the_pairs_up_to_the_percentile(leadership: float, size: int) -> None:
    rule = paper.make(LfnnLV1, leadership=leadership)
    g = torch.Generator().manual_seed(size)
    losses = torch.rand(size, rule.config.workers, generator=g, dtype=torch.float64)
    actual = rule.leads(losses, paper.step())
    last = np.percentile(losses.numpy(), 100 * leadership, method="nearest")
    assert torch.equal(actual, losses <= last)
    assert actual.any()
    if leadership == 1:
        assert actual.all()


def test_the_percentile_is_the_nearest_rank() -> None:
    """The released code takes two of four losses at a leadership of 30 %."""
    rule = paper.make(LfnnLV1, leadership=0.3)
    losses = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert rule.leads(losses, paper.step()).tolist() == [[True, True, False, False]]


def test_easy_examples_have_more_leaders_than_hard_ones() -> None:
    rule = paper.make(LfnnLV1, leadership=0.4)
    losses = torch.tensor([[0.1, 0.2, 0.3, 0.4], [5.0, 6.0, 7.0, 8.0]])
    assert rule.leads(losses, paper.step()).sum(1).tolist() == [4, 0]


# The gate


@pytest.mark.parametrize("steps", [1, 4])
def test_the_gate_makes_gate_steps_updates_per_forward_pass(steps: int) -> None:
    rule = paper.make(LfnnLV1, gate_steps=steps)
    batch = paper.batch_for(rule)
    logits = worker_scores(rule, batch.x)
    leads = leading_pairs(rule, logits, batch.target)
    p = torch.cat([s.softmax(1) for s in logits], 1).detach()
    weight, bias = (p.detach().clone() for p in (rule.gate.weight, rule.gate.bias))
    for _ in range(steps):
        logits_grad = ((p @ weight.T + bias).sigmoid() - leads) / leads.numel()
        weight, bias = weight - 0.5 * logits_grad.T @ p, bias - 0.5 * logits_grad.sum(0)

    calls: list[str] = []

    def update(group: str, grads: Mapping[str, Tensor]) -> None:
        calls.append(group)
        for name, grad in grads.items():
            assert name.startswith("gate.") == (group == "gate")
            if group == "gate":
                params[name].data.sub_(grad, alpha=0.5)

    params = dict(rule.named_parameters())
    names = [group.name for group in rule.groups()]
    rule.attach({name: lambda grads, name=name: update(name, grads) for name in names})
    rule.step(batch, paper.step())
    assert sorted(calls) == sorted(["block0", "block1", "workers", "readout", *["gate"] * steps])
    torch.testing.assert_close(rule.gate.weight.detach(), weight)
    torch.testing.assert_close(rule.gate.bias.detach(), bias)


def test_the_gate_has_twice_the_learning_rate() -> None:
    rates = {group.name: group.lr for group in paper.make(LfnnLV1).groups()}
    assert rates == {"block0": 1, "block1": 1, "workers": 1, "gate": 2, "readout": 1}


def test_a_gate_weights_its_own_workers_probabilities() -> None:
    rule = paper.make(LfnnLV1)
    with torch.no_grad():
        rule.gate.weight.zero_()
        rule.gate.bias.copy_(torch.tensor([-1e3, 1e3, -1e3, 1e3]))
    p = torch.rand(5, 4, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([torch.zeros_like(p[:, 0]), p[:, 1]] * 2, 1)
    expected[:, 3] = p[:, 3]
    assert torch.equal(rule.gated(p), expected.flatten(1))


@NET
def test_the_output_layer_predicts_from_gated_workers(net: str) -> None:
    rule = paper.make(LfnnLV1, NETS[net], SHAPE).eval()
    x = paper.batch_for(rule).x
    logits = worker_scores(rule, x)
    gating = gates(rule, logits)
    gated = [s.softmax(1) * gating[:, [w]].sigmoid() for w, s in enumerate(logits)]
    expected = torch.cat(gated, 1) @ rule.network.readout.weight.T + rule.network.readout.bias
    torch.testing.assert_close(rule.predict(x), expected)


# Isolation


@NET
def test_nan_in_later_blocks_reaches_no_earlier_block(net: str) -> None:
    rule = paper.make(LfnnLV1, NETS[net], SHAPE)
    batch = paper.batch_for(rule)
    clean, last = paper.gradients(rule, batch), len(rule.network.blocks) - 1
    with torch.no_grad():
        for module in (rule.network.blocks[last], rule.heads[last]):
            for p in module.parameters():
                p.fill_(math.nan)
    broken = paper.gradients(rule, batch)
    for k in range(last):
        own = (f"network.blocks.{k}.", f"heads.{k}.")
        names = [name for name in clean if name.startswith(own)]
        assert names
        assert all(torch.equal(broken[name], clean[name]) for name in names)
    assert broken["workers.weight"].isnan().any()


def test_the_output_layers_loss_reaches_no_other_parameter() -> None:
    class Other(paper.Task):
        def loss(self, logits: Tensor, target: Tensor) -> Tensor:
            return 1e6 * super().loss(logits, (target + 1) % CLASSES)

    batch = paper.batch_for(paper.make(LfnnLV1))
    one, other = (
        paper.gradients(paper.make(LfnnLV1, task=task), batch) for task in (paper.Task, Other)
    )
    for name, grad in one.items():
        assert torch.equal(other[name], grad) == (not name.startswith("network.readout.")), name


def test_heads_are_behind_dropout() -> None:
    rule = paper.make(LfnnLV1, NETS["mlp"], SHAPE, dropout=0.5)
    batch, s = paper.batch_for(rule), paper.step()
    actual = paper.gradients(rule, batch, s)
    block, head = rule.network.blocks[0], rule.heads[0]
    h = block(batch.x, s)
    assert (h == 0).double().mean() > 0.4
    expected = torch.autograd.grad(F.cross_entropy(head(h), batch.target), head.weight)[0]
    torch.testing.assert_close(actual["heads.0.weight"], expected)


# Claims and learning


@pytest.mark.parametrize(("net", "depth"), [("mlp", 1), ("cnn", 1), ("resnet", 2), ("mixer", 3)])
def test_the_backward_depth_is_that_of_a_block_and_its_head(net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), SHAPE, CLASSES)
    claims = LfnnLV1.claims(LfnnLV1.Config(), network)
    assert (claims.transport, claims.backward_depth, claims.couples) == ("full", depth, "rows")
    assert (claims.update_locked, claims.global_error) == (False, "none")
    everyone = LfnnLV1.claims(LfnnLV1.Config(leadership=1.0), network)
    assert everyone.couples == network.couples


def test_sixty_four_digits_are_learned_without_error() -> None:
    split = Digits().load().train
    x = torch.from_numpy(split.images[:64] / 255.0)
    batch = Batch(x, torch.from_numpy(split.labels[:64]))
    rule = paper.make(LfnnLV1, Mlp(widths=(100, 100)), (1, 8, 8), classes=10)
    recipe = Recipe(optimizer="adam", lr=3e-3)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    for index in range(1000):
        rule.step(batch, Step(Randomness(0), index))
        if index % 25 == 24 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 1000 steps")
