"""sim: the similarities of a batch are trained to be those of its labels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lbench.init import Init
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Batch
from lbench_local_loss.heads import similarity_loss
from lbench_local_loss.sim import Sim

from .small import CLASSES, NET, NETS, batch_of, gradients, make


def test_a_step_on_convolutions_has_the_gradient_of_correlations() -> None:
    """S is computed by torch.corrcoef of standard deviations, and T by conv2d."""
    rule, batch = make(NETS["cnn"], Sim), batch_of()
    actual, x = gradients(rule, batch), batch.x
    labels = torch.corrcoef(F.one_hot(batch.target, CLASSES).double())
    for k, block in enumerate(rule.network.blocks):
        h = F.leaky_relu(block.preactivation(x), 0.01)
        u = F.conv2d(h, rule.maps[k].weight, padding=1).flatten(2).std(2)
        loss = (torch.corrcoef(u) - labels).square().mean()
        weights = {f"network.blocks.{k}.{n}": p for n, p in block.named_parameters()}
        weights[f"maps.{k}.weight"] = rule.maps[k].weight
        for name, grad in zip(
            weights, torch.autograd.grad(loss, list(weights.values())), strict=True
        ):
            torch.testing.assert_close(actual[name], grad, msg=name)
        x = block.emit(h).detach()


def test_features_that_match_the_labels_have_a_loss_of_0() -> None:
    target = torch.tensor([0, 1, 2, 1, 0])
    x = 3 * F.one_hot(target, CLASSES).double() + 7
    assert similarity_loss(x, target, CLASSES, Step(Randomness(0))) < 1e-30
    assert similarity_loss(x, target.flip(0), CLASSES, Step(Randomness(0))) < 1e-30
    assert similarity_loss(x, (target + target.new_tensor([0, 1, 0, 0, 0])) % CLASSES, CLASSES,
                           Step(Randomness(0))) > 0.1  # fmt: skip


@NET
def test_the_names_of_the_classes_do_not_matter(net: str) -> None:
    rule, batch = make(NETS[net], Sim), batch_of()
    renamed = Batch(batch.x, (batch.target + 1) % CLASSES)
    actual, other = gradients(rule, batch), gradients(rule, renamed)
    for name, grad in actual.items():
        assert torch.equal(other[name], grad) == (not name.startswith("network.readout.")), name


@pytest.mark.parametrize(("net", "depth"), [("mlp", 1), ("resnet", 2)])
def test_sim_couples_the_rows_of_a_batch(net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), (1, 4, 4), CLASSES)
    claims = Sim.claims(Sim.Config(), network)
    assert (claims.transport, claims.backward_depth, claims.couples) == ("full", depth, "rows")
