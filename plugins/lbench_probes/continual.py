"""Continual learning: measures of forgetting from the error matrix of a sequence of tasks.

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
"""Errors in percent, (tasks, tasks): a row per learned task, a column per tested task."""


@dataclass(frozen=True, slots=True)
class Continual:
    """Four measures of a sequence of tasks.

    Args:
        average_error: see :func:`average_error`, in percent.
        learning_error: see :func:`learning_error`, in percent.
        forgetting: see :func:`forgetting`, in percentage points; None with one task.
        backward_transfer: see :func:`backward_transfer`, in percentage points; None with one task.
    """

    average_error: float
    learning_error: float
    forgetting: float | None
    backward_transfer: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return every field by name."""
        return asdict(self)


def error_matrix(trained: Sequence[int], task: Sequence[int], error: Sequence[float]) -> Matrix:
    """Return R from the columns of the probe ``tasks``, which count tasks from 1.

    Args:
        trained: number of tasks learned so far, by row of the probe.
        task: tested task, by row of the probe.
        error: its error in percent, by row of the probe.

    Raises:
        ValueError: an entry is missing, as in a run that has not ended, or there are two of it.
    """
    count = max(task, default=0)
    entries = dict(zip(zip(trained, task, strict=True), error, strict=True))
    cells = list(itertools.product(range(1, count + 1), range(1, count + 1)))
    if not count or set(entries) != set(cells) or len(error) != len(cells):
        raise ValueError(
            f"{count} tasks need {count**2} different entries, but there are {len(error)}"
        )
    return np.array([entries[cell] for cell in cells], dtype=np.float64).reshape(count, count)


def continual(matrix: npt.ArrayLike) -> Continual:
    """Return all four measures.

    Raises:
        ValueError: the matrix is not a square matrix of finite numbers.
    """
    return Continual(
        average_error(matrix), learning_error(matrix), forgetting(matrix), backward_transfer(matrix)
    )


def average_error(matrix: npt.ArrayLike) -> float:
    """Return the mean error over all tasks after the last task was learned, in percent.

    It is 100 minus the average accuracy of Lopez-Paz & Ranzato 2017 (arXiv:1706.08840, equation 2).

    Raises:
        ValueError: the matrix is not a square matrix of finite numbers.
    """
    return float(_checked(matrix)[-1].mean())


def learning_error(matrix: npt.ArrayLike) -> float:
    """Return the mean error on each task directly after it was learned, in percent.

    A lower value means more plasticity.

    Raises:
        ValueError: the matrix is not a square matrix of finite numbers.
    """
    return float(_checked(matrix).diagonal().mean())


def forgetting(matrix: npt.ArrayLike) -> float | None:
    """Return the mean, over all tasks but the last, of final error minus lowest earlier error.

    Chaudhry et al. 2018 (arXiv:1801.10112, equation 3 and the sentence after it), with errors
    instead of accuracies. The lowest error may be from before the task was learned.

    Returns:
        Percentage points; negative where the last task brought earlier ones to their lowest
        errors. None with one task.

    Raises:
        ValueError: the matrix is not a square matrix of finite numbers.
    """
    r = _checked(matrix)
    if len(r) == 1:
        return None
    return float((r[-1, :-1] - r[:-1, :-1].min(axis=0)).mean())


def backward_transfer(matrix: npt.ArrayLike) -> float | None:
    """Return the mean, over all tasks but the last, of error when learned minus final error.

    Lopez-Paz & Ranzato 2017 (arXiv:1706.08840, equation 3) subtract accuracies in the opposite
    order, so the sign is the same as theirs: positive where later tasks improved earlier ones,
    negative where earlier ones were forgotten.

    Returns:
        Percentage points; None with one task.

    Raises:
        ValueError: the matrix is not a square matrix of finite numbers.
    """
    r = _checked(matrix)
    if len(r) == 1:
        return None
    return float((r.diagonal()[:-1] - r[-1, :-1]).mean())


def at_matched_plasticity(
    curve: Mapping[float, tuple[float, float]], target: float
) -> float | None:
    """Return the forgetting of a rule at the learning rate where it has a given learning error.

    Both numbers are interpolated linearly between neighbouring learning rates. Where several
    rates reach the target, for example one that is too small and one that is too large, the
    lowest forgetting is returned.

    Args:
        curve: (learning error, forgetting) of one rule by learning rate.
        target: learning error in percent.

    Returns:
        Forgetting in percentage points; None where the target is not between two rates.
    """
    points = [curve[rate] for rate in sorted(curve)]
    values = [forgot for learned, forgot in points if learned == target]
    for (one, forgot_one), (other, forgot_other) in itertools.pairwise(points):
        if min(one, other) < target < max(one, other):
            share = (target - one) / (other - one)
            values.append(forgot_one + share * (forgot_other - forgot_one))
    return min(values, default=None)


def _checked(matrix: npt.ArrayLike) -> Matrix:
    r = np.asarray(matrix, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or not r.size:
        raise ValueError(f"An error matrix must be square, but its shape is {r.shape}.")
    if not np.isfinite(r).all():
        raise ValueError("An error matrix must have a finite number for every pair of tasks.")
    return r
