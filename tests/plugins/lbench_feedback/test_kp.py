"""kp is fa whose feedback gets the increments and the decay of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_feedback.fa import Fa
from lbench_feedback.kp import Kp
from tests.plugins import small
from tests.plugins.lbench_feedback.bfloat16 import assert_a_step_is_near_float32
from tests.plugins.small import NETS, SHAPE

NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
SGD = Recipe(optimizer="sgd", momentum=0.0, lr=0.1, weight_decay=0.5)


def distances(net: small.NetworkSpec, recipe: Recipe, steps: int) -> list[list[Tensor]]:
    """Return B - W of every map, before the first step and after each step."""
    rule = small.make(Kp, net)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    differences = []
    for index in range(steps + 1):
        differences.append([(m.feedback.weight - m.weight).detach() for m in rule.maps.values()])
        rule.step(small.batch_of(seed=index), Step(Randomness(0), index))
    return differences


@NET
def test_weights_get_the_gradients_of_fa_and_feedback_those_of_its_weights(
    net: small.NetworkSpec,
) -> None:
    kp, fa, batch = small.make(Kp, net), small.make(Fa, net), small.batch_of()
    actual, expected = (small.gradients(rule, batch) for rule in (kp, fa))
    names = [name for name in actual if name.endswith("feedback.weight")]
    assert len(names) == len(kp.maps)
    for name in names:
        own = actual.pop(name)
        assert torch.equal(own, actual[name.replace("feedback.weight", "weight")])
    small.assert_same(actual, expected)


@pytest.mark.parametrize(
    "recipe", [SGD, Recipe(optimizer="adamw", lr=0.1, weight_decay=0.5)], ids=["sgd", "adamw"]
)
@NET
def test_the_distance_to_the_weights_shrinks_by_the_factor_of_the_decay(
    net: small.NetworkSpec, recipe: Recipe
) -> None:
    first, *later = distances(net, recipe, 4)
    factor = 1.0
    for actual in later:
        factor *= 1 - recipe.lr * recipe.weight_decay
        for one, start in zip(actual, first, strict=True):
            torch.testing.assert_close(one, factor * start, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_without_decay_the_distance_is_constant(optimizer: str) -> None:
    recipe = Recipe.model_validate({"optimizer": optimizer, "lr": 0.1})
    first, *_, last = distances(NETS["mlp"], recipe, 4)
    for one, start in zip(last, first, strict=True):
        torch.testing.assert_close(one, start, rtol=0, atol=1e-12)


def test_with_momentum_the_distance_is_a_damped_oscillation() -> None:
    """u <- mu u + d D, D <- D - lr u, which is the same for every entry of every map."""
    recipe = SGD.model_copy(update={"momentum": 0.9})
    first, *later = distances(NETS["cnn"], recipe, 100)
    share, speed = 1.0, 0.0
    for actual in later:
        speed = 0.9 * speed + recipe.weight_decay * share
        share -= recipe.lr * speed
        for one, start in zip(actual, first, strict=True):
            torch.testing.assert_close(one, share * start, rtol=0, atol=1e-12)
    assert abs(share) < 0.01


def test_with_adams_decay_the_distance_has_no_common_factor() -> None:
    first, *_, last = distances(NETS["mlp"], Recipe(optimizer="adam", weight_decay=0.5), 20)
    for one, start in zip(last, first, strict=True):
        assert (one / start).std() > 0.01


def test_feedback_converges_to_the_weights() -> None:
    first, *_, last = distances(NETS["mlp"], SGD, 200)
    for one, start in zip(last, first, strict=True):
        assert one.norm() < 1e-4 * start.norm()


def test_kp_that_starts_with_the_weights_as_feedback_stays_bp() -> None:
    kp, bp = small.make(Kp, NETS["resnet"]), small.make(Bp, NETS["resnet"])
    with torch.no_grad():
        for affine in kp.maps.values():
            affine.feedback.weight.copy_(affine.weight)
    for rule in (kp, bp):
        rule.attach({group.name: Update(group, SGD) for group in rule.groups()})
        for index in range(5):
            rule.step(small.batch_of(seed=index), Step(Randomness(0), index))
    values = dict(kp.named_parameters())
    for name, value in bp.named_parameters():
        torch.testing.assert_close(values[name], value, rtol=0, atol=1e-9)


@NET
def test_feedback_counts_as_auxiliary(net: small.NetworkSpec) -> None:
    rule = small.make(Kp, net)
    count = sum(affine.weight.numel() for affine in rule.maps.values())
    plain = parameters(small.make(Bp, net).float(), SHAPE)
    assert parameters(rule.float(), SHAPE) == {**plain, "aux": count}


def test_the_recipe_has_a_decay_that_bypasses_the_optimizers_state() -> None:
    recipe = Kp.recipe(Recipe(), "mnist", "mlp")
    assert recipe.optimizer == "adamw"
    assert recipe.weight_decay > 0


@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_in_bfloat16_is_near_float32(net: small.NetworkSpec) -> None:
    assert_a_step_is_near_float32(small.make(Kp, net))
