"""What a rule forgets: numbers from the error matrix of a sequence of tasks.

R[i, j] is the error in percent on task j after tasks 0 … i were learned one after another, as the
probe ``tasks`` records it. A rule that learns little forgets little, so forgetting is compared at
equal plasticity: see :func:`at_matched_plasticity`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""Errors in percent, (tasks, tasks): a row a task that was learned, a column a task looked at."""


@dataclass(frozen=True, slots=True)
class Continual:
    """A sequence in four numbers.

    Args:
        average_error: see :func:`average_error`, percent.
        learning_error: see :func:`learning_error`, percent.
        forgetting: see :func:`forgetting`, points; None with one task.
        backward_transfer: see :func:`backward_transfer`, points; None with one task.
    """

    average_error: float
    learning_error: float
    forgetting: float | None
    backward_transfer: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Every field by name."""
        return asdict(self)


def error_matrix(trained: Sequence[int], task: Sequence[int], error: Sequence[float]) -> Matrix:
    """R from the columns of the probe ``tasks``, which count tasks from 1.

    Raises:
        ValueError: an entry is missing, as of a run that has not ended, or stands twice.
    """
    count = max(task, default=0)
    entries = dict(zip(zip(trained, task, strict=True), error, strict=True))
    places = list(itertools.product(range(1, count + 1), range(1, count + 1)))
    if not count or set(entries) != set(places) or len(error) != len(places):
        raise ValueError(
            f"{count} tasks have {count**2} entries, one each, but there are {len(error)}"
        )
    return np.array([entries[place] for place in places], dtype=np.float64).reshape(count, count)


def continual(matrix: npt.ArrayLike) -> Continual:
    """All four numbers. Raises ValueError as each of them does."""
    return Continual(
        average_error(matrix), learning_error(matrix), forgetting(matrix), backward_transfer(matrix)
    )


def average_error(matrix: npt.ArrayLike) -> float:
    """Mean error over all tasks after the last, percent.

    100 minus the average accuracy of Lopez-Paz & Ranzato 2017 (arXiv:1706.08840, equation 2).

    Raises:
        ValueError: no square matrix of numbers.
    """
    return float(_checked(matrix)[-1].mean())


def learning_error(matrix: npt.ArrayLike) -> float:
    """Mean error on each task just after it was learned, percent: the lower, the more plastic.

    Raises:
        ValueError: no square matrix of numbers.
    """
    return float(_checked(matrix).diagonal().mean())


def forgetting(matrix: npt.ArrayLike) -> float | None:
    """Mean over all tasks but the last: final error minus the lowest before the end, points.

    Chaudhry et al. 2018 (arXiv:1801.10112, equation 3 and the sentence behind it), with errors
    for accuracies. The lowest may be that of any earlier time, also before the task was learned.

    Returns:
        Negative where the last task made earlier ones better than ever; None with one task.

    Raises:
        ValueError: no square matrix of numbers.
    """
    r = _checked(matrix)
    if len(r) == 1:
        return None
    return float((r[-1, :-1] - r[:-1, :-1].min(axis=0)).mean())


def backward_transfer(matrix: npt.ArrayLike) -> float | None:
    """Mean over all tasks but the last: error just after it was learned minus final error, points.

    Lopez-Paz & Ranzato 2017 (arXiv:1706.08840, equation 3) subtract accuracies the other way
    round, so the sign is theirs: positive where later tasks made earlier ones better, negative
    where they were forgotten.

    Returns:
        None with one task.

    Raises:
        ValueError: no square matrix of numbers.
    """
    r = _checked(matrix)
    if len(r) == 1:
        return None
    return float((r.diagonal()[:-1] - r[-1, :-1]).mean())


def at_matched_plasticity(
    curve: Mapping[float, tuple[float, float]], target: float
) -> float | None:
    """The forgetting of a rule at the learning rate at which it has a given learning error.

    Between two neighbouring learning rates both numbers are taken to change linearly. Where
    several rates reach the target, as when too large a rate learns as badly as too small a one,
    the lowest forgetting counts.

    Args:
        curve: (learning error, forgetting) by learning rate, as of one rule.
        target: learning error, percent.

    Returns:
        Forgetting in points; None where no two rates have the target between them.
    """
    points = [curve[rate] for rate in sorted(curve)]
    found = [forgot for learned, forgot in points if learned == target]
    for (one, forgot_one), (other, forgot_other) in itertools.pairwise(points):
        if min(one, other) < target < max(one, other):
            share = (target - one) / (other - one)
            found.append(forgot_one + share * (forgot_other - forgot_one))
    return min(found, default=None)


def _checked(matrix: npt.ArrayLike) -> Matrix:
    r = np.asarray(matrix, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or not r.size:
        raise ValueError(f"an error matrix has a row and a column a task, not the shape {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError("an error matrix has a number for every task at every time")
    return r
