"""Fixed random codes of the classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_local_loss.codes import codes
from lbench_local_loss.pred_bio import PredBio
from lbench_local_loss.predsim_bio import PredSimBio
from lbench_local_loss.sim_bio import SimBio

from .small import CLASSES, NETS, batch_of, make

RULE = pytest.mark.parametrize("rule", [PredBio, SimBio, PredSimBio])


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_codes_are_uniform_and_half_of_their_bits_are_ones(classes: int) -> None:
    drawn = codes(Init(0), "block", classes, 128)
    bound = 1 / math.sqrt(classes)
    assert 0.95 * bound < drawn.abs().max() <= bound
    assert drawn.square().mean().item() == pytest.approx(bound**2 / 3, rel=0.2)
    ones = (drawn > 0).double().mean(1)
    assert 0.3 < ones.min() <= ones.max() < 0.7
    assert ones.mean().item() == pytest.approx(0.5, abs=2 / math.sqrt(drawn.numel()))


@pytest.mark.parametrize("seed", range(5))
def test_codes_are_drawn_again_until_no_two_classes_share_one(seed: int) -> None:
    """Four codes of two bits are all different in 4! of 4^4 draws."""
    drawn = codes(Init(seed), "block", 4, 2)
    assert sorted((drawn > 0).int().tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_more_classes_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="5 classes"):
        codes(Init(0), "block", 5, 2)


@RULE
def test_every_block_has_its_own_codes_for_a_seed(rule: Any) -> None:
    made, again = make(rule=rule), make(rule=rule)
    one, other = made.codes
    assert one.shape == other.shape == (CLASSES, 128)
    assert not torch.equal(one, other)
    assert torch.equal(one, again.codes[0])


@RULE
def test_codes_and_feedback_never_change_and_are_saved(rule: Any) -> None:
    made = make(NETS["cnn"], rule)
    made.attach({group.name: Update(group, Recipe(weight_decay=0.1)) for group in made.groups()})
    fixed = {name: p.clone() for name, p in made.named_parameters() if not p.requires_grad}
    assert len([name for name in fixed if name.startswith("codes.")]) == 2
    for index in range(3):
        made.step(batch_of(seed=index), Step(Randomness(0), index))
    saved = made.state_dict()
    for name, before in fixed.items():
        assert torch.equal(saved[name], before), name


@pytest.mark.parametrize(
    ("rule", "trained", "fixed"),
    [
        (PredBio, 128 * (20 + 1) + 128 * (30 + 1), 128 * (20 + 30) + 2 * 128 * 10),
        (SimBio, 0, 2 * 128 * 10),
        (PredSimBio, 128 * (20 + 1) + 128 * (30 + 1), 128 * (20 + 30) + 2 * 128 * 10),
    ],
)
def test_decoders_are_auxiliary_and_codes_and_feedback_fixed(
    rule: Any, trained: int, fixed: int
) -> None:
    made = make(Mlp(widths=(20, 30)), rule, classes=10).float()
    counts = parameters(made, (1, 4, 4))
    assert (counts["aux"], counts["fix"]) == (trained, fixed)


@RULE
@pytest.mark.parametrize(("net", "depth"), [("mlp", 0), ("cnn", 0), ("resnet", 1), ("mixer", 2)])
def test_weights_are_transported_only_inside_a_block(rule: Any, net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), (1, 4, 4), CLASSES)
    claims = rule.claims(rule.Config(), network)
    assert claims.backward_depth == depth
    assert claims.transport == ("full" if depth else "none")
    assert claims.couples == (network.couples if rule is PredBio else "rows")
