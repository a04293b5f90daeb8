from __future__ import annotations

import pytest

from lbench.step import Phase
from lbench.training.step_plan import StepPlan

PHASES = [Phase("all")]


def test_epochs_of_a_sequence_have_the_length_of_their_task() -> None:
    plan = StepPlan.of([25, 10, 31], 10, 2, None, PHASES)
    assert [plan.count(epoch) for epoch in range(6)] == [3, 3, 1, 1, 4, 4]
    assert (plan.steps, plan.per_epoch) == (16, 4)
    positions = [plan.locate(step) for step in range(16)]
    assert positions == [
        (epoch, position) for epoch in range(6) for position in range(plan.count(epoch))
    ]


@pytest.mark.parametrize(("epochs", "budget"), [(3, None), (None, 77)])
def test_a_dataset_of_one_task_has_equal_epochs(epochs: int | None, budget: int | None) -> None:
    plan = StepPlan.of(25, 10, epochs, budget, PHASES)
    assert plan == StepPlan.of([25], 10, epochs, budget, PHASES)
    assert [plan.locate(step) for step in (0, 2, 3, 8)] == [(0, 0), (0, 2), (1, 0), (2, 2)]
    # 77 examples: three whole epochs of 25 and a batch of the fourth.
    assert [plan.count(epoch) for epoch in range(3)] == [3, 3, 3]
    if budget:
        assert (plan.steps, plan.count(3)) == (10, 1)
    else:
        assert plan.steps == 9
