"""The steps of a run that get a glance."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lbench.step import Phase
from lbench.training.glances import COST, MOST, SHARE, glance_steps
from lbench.training.step_plan import StepPlan

MNIST = StepPlan.of(54_000, 128, 10, None, [Phase()])


@pytest.mark.parametrize("seed", range(5))
def test_first_and_last_steps_of_epochs_get_glances(seed: int) -> None:
    for plan in (MNIST, StepPlan.of(1295, 32, 3, None, [Phase()])):
        epoch = plan.per_epoch
        assert {0, epoch - 1, epoch, plan.steps - 1} <= glance_steps(plan, seed)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_short_run_has_no_step_twice_and_none_beyond_its_end(steps: int) -> None:
    steps_with_glances = glance_steps(StepPlan.of(steps * 10, 10, 1, None, [Phase()]), 0)
    assert {0, steps - 1} <= steps_with_glances <= set(range(steps))


def test_the_first_step_of_each_phase_gets_a_glance() -> None:
    plan = StepPlan.of(1000, 10, 3, None, [Phase("first"), Phase("second", 2)])
    assert 100 in glance_steps(plan, 0)


def test_epochs_of_a_sequence_may_have_different_lengths() -> None:
    plan = StepPlan.of([50, 30], 10, 2, None, [Phase()])
    assert {0, 4, 5, 15} <= glance_steps(plan, 0)


def test_the_number_of_glances_grows_with_the_run_up_to_a_limit() -> None:
    epochs = (1, 10, 30, 100, 10_000)
    counts = [len(glance_steps(StepPlan.of(54_000, 128, n, None, [Phase()]), 0)) for n in epochs]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2]
    assert counts[-1] <= MOST
    assert counts[1] <= SHARE * MNIST.steps / COST


def test_the_steps_are_a_function_of_the_seed() -> None:
    assert glance_steps(MNIST, 3) == glance_steps(MNIST, 3)
    assert len({glance_steps(MNIST, seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("period", [2, 3, 4, 5])
def test_glances_reach_all_residues_of_a_short_period(period: int) -> None:
    for seed in range(20):
        assert {step % period for step in glance_steps(MNIST, seed)} == set(range(period))


def test_the_drawn_steps_are_spread_over_the_run() -> None:
    for seed in range(20):
        steps = sorted(glance_steps(MNIST, seed))
        gaps = [later - earlier for earlier, later in pairwise(steps)]
        assert max(gaps) <= 0.4 * MNIST.steps + 1
