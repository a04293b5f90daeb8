"""Budgets with as many operations as the reference rule takes in its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbench.errors import UsageError
from lbench.registry import registry
from lbench.studies.definition import Point, UntrainablePoint
from lbench.studies.settings import EQUAL
from lbench.studies.study_plan import ExampleBudget, StudyPlan
from lbench.training.resolve import VALIDATION


def check_equal_operations(plan: StudyPlan) -> None:
    """Check that each point with ``equal = "flops"`` has a reference rule to compare with.

    Raises:
        UsageError: the study does not have the reference rule on a point's dataset and network,
            the budget is not in epochs, or the dataset is a sequence of tasks.
    """
    reference = registry().reference("rules")
    points = [*plan.points, *(failed.point for failed in plan.untrainable)]
    bases = {_comparison(point) for point in points if point.rule == reference}
    for point in _equal_points(plan):
        if plan.resolved[point.key].dataset.segments:
            raise UsageError(
                f"{point.key} is a sequence: its budget is in epochs per task, not in operations.",
                'Leave out equal = "flops".',
            )
        if not reference:
            raise UsageError(
                f"{point.key} cannot have equal operations: no installed rule is the reference.",
                "See all plugins with: lbench plugins",
            )
        if _comparison(point) not in bases or not plan.resolved[point.key].cell.budget.epochs:
            raise UsageError(
                f"{point.key} cannot have as many operations as {reference} has in its epochs.",
                f"Add the rule {reference} to the study, on the same network with the same "
                "options, and give the budget in epochs.",
            )


def with_budgets(plan: StudyPlan, flops: Mapping[str, float]) -> StudyPlan:
    """Return the plan with a budget at each point with ``equal = "flops"``.

    A point that takes as many operations per example as the reference rule keeps its epochs. A
    point becomes untrainable if its step or that of the reference rule could not be timed.

    Args:
        plan: the plan.
        flops: operations per training example, by the key of each point that could be timed.

    Raises:
        UsageError: a rule has no matrix product in its training that could be counted.
    """
    reference = registry().reference("rules")
    base = {
        _comparison(point): flops[point.key]
        for point in plan.points
        if point.rule == reference and point.key in flops
    }
    budgets, untrainable = {}, list[UntrainablePoint]()
    for point in _equal_points(plan):
        if point.key not in flops or _comparison(point) not in base:
            failed = reference if point.key in flops else point.rule
            reason = f"A step of {failed} failed, so the budget of equal operations is unknown."
            untrainable.append(UntrainablePoint(point, reason))
            continue
        if not flops[point.key]:
            raise UsageError(
                f"Training {point.rule} has no matrix product: it cannot have as many operations "
                f"as {reference}.",
                'Give it an arm of its own, with axes = { equal = ["epochs"] }.',
            )
        ratio = base[_comparison(point)] / flops[point.key]
        if ratio == 1:
            continue
        resolved = plan.resolved[point.key]
        cell = resolved.cell
        seen = cell.labels * resolved.dataset.examples[0] * (cell.budget.epochs or 0) * ratio
        budgets[point.key] = ExampleBudget(
            trial=max(1, round(seen * (1 - VALIDATION))),
            final=max(1, round(seen * (1 - cell.validation))),
        )
    keys = [failed.point.key for failed in untrainable]
    points = [point for point in plan.points if point.key not in keys]
    return replace(
        plan, points=points, budgets=budgets, untrainable=[*plan.untrainable, *untrainable]
    )


def _equal_points(plan: StudyPlan) -> list[Point]:
    return [point for point in plan.points if point.settings.get(EQUAL) == "flops"]


def _comparison(point: Point) -> tuple[str, str, str]:
    """Return a key that is equal for points with the same dataset and network."""
    task = {
        name: value
        for name, value in point.settings.items()
        if name == "blocks" or name.startswith(("net.", "data."))
    }
    return point.dataset, point.network, repr(sorted(task.items()))
