"""Rules over several datasets and networks at once, each error over the reference rule's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.registry import registry
from lbench.report.compare import mean
from lbench.report.lines import Group, Line
from lbench.statistics.aggregate import Aggregate, interquartile_mean, probability_of_improvement
from lbench.studies.settings import EQUAL


def overall(groups: Sequence[Group]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return words and numbers on each rule that every task has; none for fewer than two tasks.

    Equal epochs and equal operations are two questions about the same tasks, which are answered
    separately.
    """
    details: list[str] = []
    data: list[dict[str, Any]] = []
    reference = registry().reference("rules")
    known = [group for group in groups if _has_error(group, reference)]
    for equal in dict.fromkeys(group.task.get(EQUAL) for group in known):
        tasks = [group for group in known if group.task.get(EQUAL) == equal]
        if len(tasks) < 2:
            continue
        what = f"{len(tasks)} tasks" + (f" at equal {equal}" if equal else "")
        control = _errors(tasks, reference)
        for name in dict.fromkeys(line.name for group in tasks for line in group.known):
            errors = _errors(tasks, name)
            if name == reference or len(errors) < len(tasks):
                continue
            middle = interquartile_mean(errors, over=control)
            wins = probability_of_improvement(errors, control)
            details.append(
                f"{name} over {what}: interquartile mean of its error over "
                f"{reference}'s {_words(middle)}; a run of it is better than one of {reference} "
                f"with probability {_words(wins)}."
            )
            data.append(
                {
                    "equal": equal,
                    "rule": name,
                    "interquartile_mean": middle.as_dict(),
                    "better_than_reference": wins.as_dict(),
                }
            )
    return details, data


def _has_error(group: Group, reference: str) -> bool:
    """Return whether the reference rule has an error in the group by which others are divided."""
    line = next((line for line in group.known if line.name == reference), None)
    return line is not None and bool(mean(line.row.test))


def _errors(groups: Sequence[Group], name: str) -> Mapping[str, list[float]]:
    """Return a rule's errors by group, in the order of the seeds, where its error is lowest."""
    found: dict[str, list[float]] = {}
    for group in groups:
        lines: list[Line] = [line for line in group.known if line.name == name]
        if lines:
            lowest = min(lines, key=lambda line: line.error)
            found[group.title] = [error for _, error in sorted(lowest.row.errors.items())]
    return found


def _words(number: Aggregate) -> str:
    if number.low is None or number.high is None:
        return f"{number.value:.2f}"
    words = f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"
    return words if number.holds else f"{words} (too few seeds for the interval to hold)"
