"""Budgets of as many operations as ``bp`` takes in its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbench.errors import UsageError
from lbench.run.resolve import VALIDATION
from lbench.study.definition import Point, UntrainablePoint
from lbench.study.settings import EQUAL
from lbench.study.study_plan import ExampleBudget, StudyPlan

BASE = "bp"


def check_equal_operations(plan: StudyPlan) -> None:
    """That there is a ``bp`` to be equal to.

    Raises:
        UsageError: there is none on a point's dataset and network, its budget is not in epochs, or
            the dataset is a sequence.
    """
    known = [*plan.points, *(each.point for each in plan.untrainable)]
    bases = {_where(point) for point in known if point.rule == BASE}
    for point in _asking(plan):
        if plan.resolved[point.key].dataset.segments:
            raise UsageError(
                f"{point.key} is a sequence: its budget is in epochs a task, not in operations.",
                'Leave out equal = "flops".',
            )
        if _where(point) not in bases or not plan.resolved[point.key].cell.budget.epochs:
            raise UsageError(
                f"{point.key} cannot have as many operations as {BASE} has in its epochs.",
                f"Add the rule {BASE} to the study, on the same network with the same options, and "
                "give the budget in epochs.",
            )


def with_budgets(plan: StudyPlan, flops: Mapping[str, float]) -> StudyPlan:
    """The plan with a budget at each point that asks for equal operations.

    Where a point takes as many for an example as ``bp`` does, its epochs are its budget already.
    One that could not be timed, or has no ``bp`` that could, is lost.

    Args:
        flops: of training on one example, by the key of each point that could be timed.

    Raises:
        UsageError: a rule's training has no matrix product to count.
    """
    base = {
        _where(point): flops[point.key]
        for point in plan.points
        if point.rule == BASE and point.key in flops
    }
    budgets, untrainable = {}, list[UntrainablePoint]()
    for point in _asking(plan):
        if point.key not in flops or _where(point) not in base:
            failed = BASE if point.key in flops else point.rule
            reason = f"A step of {failed} failed, so there is no budget of as many operations."
            untrainable.append(UntrainablePoint(point, reason))
            continue
        if not flops[point.key]:
            raise UsageError(
                f"Training {point.rule} has no matrix product: it cannot be given as many "
                f"operations as {BASE}.",
                'Give it an arm of its own, with axes = { equal = ["epochs"] }.',
            )
        ratio = base[_where(point)] / flops[point.key]
        if ratio == 1:
            continue
        resolved = plan.resolved[point.key]
        cell = resolved.cell
        seen = cell.labels * resolved.dataset.examples[0] * (cell.budget.epochs or 0) * ratio
        budgets[point.key] = ExampleBudget(
            trial=max(1, round(seen * (1 - VALIDATION))),
            final=max(1, round(seen * (1 - cell.validation))),
        )
    keys = [each.point.key for each in untrainable]
    points = [point for point in plan.points if point.key not in keys]
    return replace(
        plan, points=points, budgets=budgets, untrainable=[*plan.untrainable, *untrainable]
    )


def _asking(plan: StudyPlan) -> list[Point]:
    return [point for point in plan.points if point.settings.get(EQUAL) == "flops"]


def _where(point: Point) -> tuple[str, str, str]:
    """Where operations can be equal: the same images through the same network."""
    task = {
        name: value
        for name, value in point.settings.items()
        if name == "blocks" or name.startswith(("net.", "data."))
    }
    return point.dataset, point.network, repr(sorted(task.items()))
