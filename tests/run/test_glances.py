"""Which steps of a run are looked at."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lbench.run.glances import COST, MOST, SHARE, planned
from lbench.run.plan import Plan
from lbench.step import Phase

MNIST = Plan.of(54_000, 128, 10, None, [Phase()])


@pytest.mark.parametrize("seed", range(5))
def test_first_steps_and_last_steps_of_epochs_are_looked_at(seed: int) -> None:
    for plan in (MNIST, Plan.of(1295, 32, 3, None, [Phase()])):
        epoch = plan.per_epoch
        assert {0, epoch - 1, epoch, plan.steps - 1} <= planned(plan, seed)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_short_run_has_no_step_twice_and_none_beyond_its_end(steps: int) -> None:
    at = planned(Plan.of(steps * 10, 10, 1, None, [Phase()]), 0)
    assert {0, steps - 1} <= at <= set(range(steps))


def test_every_phase_is_looked_at_when_it_begins() -> None:
    plan = Plan.of(1000, 10, 3, None, [Phase("first"), Phase("second", 2)])
    assert 100 in planned(plan, 0)


def test_epochs_of_a_sequence_have_lengths_of_their_own() -> None:
    plan = Plan.of([50, 30], 10, 2, None, [Phase()])
    assert {0, 4, 5, 15} <= planned(plan, 0)


def test_the_number_grows_with_the_run_up_to_a_limit() -> None:
    epochs = (1, 10, 30, 100, 10_000)
    counts = [len(planned(Plan.of(54_000, 128, n, None, [Phase()]), 0)) for n in epochs]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2]
    assert counts[-1] <= MOST
    assert counts[1] <= SHARE * MNIST.steps / COST


def test_the_steps_are_a_function_of_the_seed() -> None:
    assert planned(MNIST, 3) == planned(MNIST, 3)
    assert len({planned(MNIST, seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("period", [2, 3, 4, 5])
def test_no_phase_of_a_short_period_is_left_out(period: int) -> None:
    for seed in range(20):
        assert {step % period for step in planned(MNIST, seed)} == set(range(period))


def test_the_drawn_steps_are_spread_over_the_run() -> None:
    for seed in range(20):
        at = sorted(planned(MNIST, seed))
        gaps = [later - earlier for earlier, later in pairwise(at)]
        assert max(gaps) <= 0.4 * MNIST.steps + 1
