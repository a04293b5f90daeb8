"""Budgets of as many operations as the reference rule takes in its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbench.errors import UsageError
from lbench.registry import registry
from lbench.run.resolve import VALIDATION
from lbench.study.definition import Point, UntrainablePoint
from lbench.study.settings import EQUAL
from lbench.study.study_plan import ExampleBudget, StudyPlan


def check_equal_operations(plan: StudyPlan) -> None:
    """Check that there is a reference rule to be equal to.

    Raises:
        UsageError: there is no such rule on a point's dataset and network, its budget is not in
            epochs, or the dataset is a sequence.
    """
    reference = registry().reference("rules")
    known = [*plan.points, *(each.point for each in plan.untrainable)]
    bases = {_where(point) for point in known if point.rule == reference}
    for point in _asking(plan):
        if plan.resolved[point.key].dataset.segments:
            raise UsageError(
                f"{point.key} is a sequence: its budget is in epochs a task, not in operations.",
                'Leave out equal = "flops".',
            )
        if not reference:
            raise UsageError(
                f"{point.key} cannot have equal operations: no installed rule is the reference.",
                "See all plugins with: lbench plugins",
            )
        if _where(point) not in bases or not plan.resolved[point.key].cell.budget.epochs:
            raise UsageError(
                f"{point.key} cannot have as many operations as {reference} has in its epochs.",
                f"Add the rule {reference} to the study, on the same network with the same "
                "options, and give the budget in epochs.",
            )


def with_budgets(plan: StudyPlan, flops: Mapping[str, float]) -> StudyPlan:
    """The plan with a budget at each point that asks for equal operations.

    Where a point takes as many for an example as the reference rule does, its epochs are its
    budget already. One that could not be timed, or has no reference that could, is lost.

    Args:
        flops: of training on one example, by the key of each point that could be timed.

    Raises:
        UsageError: a rule's training has no matrix product to count.
    """
    reference = registry().reference("rules")
    base = {
        _where(point): flops[point.key]
        for point in plan.points
        if point.rule == reference and point.key in flops
    }
    budgets, untrainable = {}, list[UntrainablePoint]()
    for point in _asking(plan):
        if point.key not in flops or _where(point) not in base:
            failed = reference if point.key in flops else point.rule
            reason = f"A step of {failed} failed, so there is no budget of as many operations."
            untrainable.append(UntrainablePoint(point, reason))
            continue
        if not flops[point.key]:
            raise UsageError(
                f"Training {point.rule} has no matrix product: it cannot be given as many "
                f"operations as {reference}.",
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
