"""Rules over several datasets and networks at once, each error over the reference rule's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.registry import registry
from lbench.report.compare import mean
from lbench.report.lines import Group, Line
from lbench.statistics.aggregate import (
    Aggregate,
    interquartile_mean,
    probability_of_improvement,
)
from lbench.studies.settings import EQUAL

Scores = dict[str, list[float]]


def overall(groups: Sequence[Group]) -> tuple[list[str], list[dict[str, Any]]]:
    """Of each rule that every task has, in words and in numbers; none of fewer than two tasks.

    Equal epochs and equal operations are two questions about the same tasks: each has its own.
    """
    details: list[str] = []
    data: list[dict[str, Any]] = []
    known = [group for group in groups if _control(group) is not None]
    for equal in dict.fromkeys(group.task.get(EQUAL) for group in known):
        mine = [group for group in known if group.task.get(EQUAL) == equal]
        if len(mine) > 1:
            words, numbers = _overall(mine, f" at equal {equal}" if equal else "")
            details += words
            data += [{"equal": equal, **entry} for entry in numbers]
    return details, data


def _overall(known: Sequence[Group], what: str) -> tuple[list[str], list[dict[str, Any]]]:
    names = dict.fromkeys(line.name for group in known for line in group.known)
    details: list[str] = []
    data: list[dict[str, Any]] = []
    reference = registry().reference("rules")
    control = _errors(known, reference)
    for name in names:
        errors = _errors(known, name)
        if name == reference or len(errors) < len(known):
            continue
        middle = interquartile_mean(errors, over=control)
        wins = probability_of_improvement(errors, control)
        details.append(
            f"{name} over {len(known)} tasks{what}: interquartile mean of its error over "
            f"{reference}'s {_words(middle)}; a run of it is better than one of {reference} with "
            f"probability {_words(wins)}."
        )
        data.append(
            {
                "rule": name,
                "interquartile_mean": middle.as_dict(),
                "better_than_reference": wins.as_dict(),
            }
        )
    return details, data


def _control(group: Group) -> Line | None:
    """The group's line of the reference rule, with an error to divide by."""
    reference = registry().reference("rules")
    line = next((line for line in group.known if line.name == reference), None)
    return line if line is not None and mean(line.row.test) else None


def _errors(groups: Sequence[Group], name: str) -> Mapping[str, list[float]]:
    """A rule's errors by group, in the order of the seeds, of its cell of lowest error there."""
    found: Scores = {}
    for group in groups:
        mine = [line for line in group.known if line.name == name]
        if mine:
            lowest = min(mine, key=lambda line: mean(line.row.test) or 0.0)
            found[group.title] = [error for _, error in sorted(lowest.row.errors.items())]
    return found


def _words(number: Aggregate) -> str:
    if number.low is None or number.high is None:
        return f"{number.value:.2f}"
    words = f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"
    return words if number.holds else f"{words} (too few seeds for the interval to hold)"
