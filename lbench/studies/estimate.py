"""Estimate of the duration of a study."""

from __future__ import annotations

from collections.abc import Mapping

from lbench.studies.space import trial_count
from lbench.studies.step_costs import Cost
from lbench.studies.study_plan import StudyPlan

OVERHEAD = 0.3
"""Seconds per run besides its training, as benchmarks/trial.py measures them."""
PRUNED = 0.6
"""Share of a search's epochs that are trained when most trials are pruned early."""


def estimated_seconds(plan: StudyPlan, costs: Mapping[str, Cost]) -> float:
    """Return the seconds that all runs of a plan take on one worker.

    Args:
        plan: the plan.
        costs: cost at each point that could be timed, by its key; other points count as 0.
    """
    keys = [point.key for point in plan.points if point.key in costs]
    return sum(_seconds(plan, key, costs[key]) for key in keys)


def _seconds(plan: StudyPlan, key: str, cost: Cost) -> float:
    """Return the seconds that all runs at a point take."""
    study, resolved = plan.study, plan.resolved[key]
    cell, data = resolved.cell, resolved.dataset
    train, test = data.examples
    learned = cell.labels * train * (1 - cell.validation)
    examples = plan.budgets[key].final if key in plan.budgets else cell.budget.examples
    epochs = (examples or 0) / learned if examples else cell.budget.epochs or 0

    def run(epochs: float) -> float:
        steps = epochs * learned / cell.recipe.batch
        # After each epoch of one task of a sequence the model is evaluated on all tasks.
        evaluated = learned + test + 0.1 * train * epochs * max(1, len(data.segments))
        return steps * cost.step + evaluated * cost.evaluation + OVERHEAD

    # A search adds as many runs of the defaults, with which its choice is compared.
    seconds = study.seeds * run(epochs) * (1 if study.search is None else 2)
    if (search := study.search) is not None:
        share = PRUNED if search.pruning and len(search.objectives) == 1 else 1.0
        seconds += (
            trial_count(search, plan.spaces[key])
            * search.seeds
            * share
            * run(search.epochs or epochs)
        )
    return seconds
