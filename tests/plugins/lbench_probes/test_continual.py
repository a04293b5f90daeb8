"""The four measures of matrices that were computed by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lbench_probes.continual import (
    at_matched_plasticity,
    average_error,
    backward_transfer,
    continual,
    error_matrix,
    forgetting,
    learning_error,
)

R = [
    [4.0, 50.0, 48.0],
    [20.0, 6.0, 52.0],
    [30.0, 16.0, 8.0],
]


def test_the_four_numbers_of_a_matrix() -> None:
    assert average_error(R) == pytest.approx((30 + 16 + 8) / 3)
    assert learning_error(R) == pytest.approx((4 + 6 + 8) / 3)
    assert forgetting(R) == pytest.approx(((30 - 4) + (16 - 6)) / 2)
    assert backward_transfer(R) == pytest.approx(((4 - 30) + (6 - 16)) / 2)
    assert continual(R).as_dict() == {
        "average_error": 18.0,
        "learning_error": 6.0,
        "forgetting": 18.0,
        "backward_transfer": -18.0,
    }


def test_the_lowest_error_may_be_a_later_one_than_that_of_learning() -> None:
    better_once = [[10.0, 50.0, 50.0], [3.0, 5.0, 50.0], [12.0, 5.0, 5.0]]
    assert forgetting(better_once) == pytest.approx(((12 - 3) + (5 - 5)) / 2)
    assert backward_transfer(better_once) == pytest.approx(((10 - 12) + 0) / 2)


def test_the_lowest_error_may_be_one_before_the_task() -> None:
    known_before = [[5.0, 2.0], [5.0, 9.0]]
    assert forgetting(known_before) == 0.0
    first_best = [[5.0, 2.0, 60.0], [7.0, 9.0, 60.0], [6.0, 4.0, 3.0]]
    assert forgetting(first_best) == pytest.approx(((6 - 5) + (4 - 2)) / 2)


def test_later_tasks_that_help_have_negative_forgetting_and_positive_transfer() -> None:
    helped = [[20.0, 40.0], [12.0, 10.0]]
    assert forgetting(helped) == -8.0
    assert backward_transfer(helped) == 8.0


def test_one_task_can_be_learned_but_not_forgotten() -> None:
    result = continual([[7.0]])
    assert (result.average_error, result.learning_error) == (7.0, 7.0)
    assert (result.forgetting, result.backward_transfer) == (None, None)


def test_forgetting_is_at_least_what_transfer_lost() -> None:
    # The lowest error is at most that of learning.
    draws = np.random.default_rng(0)
    for _ in range(200):
        matrix = draws.uniform(0, 90, (5, 5))
        lost, transfer = forgetting(matrix), backward_transfer(matrix)
        assert lost is not None
        assert transfer is not None
        assert lost >= -transfer - 1e-9


@pytest.mark.parametrize(
    "matrix", [[], [1.0, 2.0], [[1.0, 2.0]], [[1.0, math.nan], [2.0, 3.0]]], ids=str
)
def test_invalid_error_matrices_are_refused(matrix: list[object]) -> None:
    for number in (average_error, learning_error, forgetting, backward_transfer):
        with pytest.raises(ValueError, match="An error matrix must"):
            number(matrix)  # type: ignore[arg-type]


def test_the_columns_of_the_probe_make_the_matrix_in_any_order() -> None:
    places = [*itertools.product((1, 2, 3), repeat=2)][::-1]
    trained, task = zip(*places, strict=True)
    error = [R[i - 1][j - 1] for i, j in places]
    assert error_matrix(trained, task, error).tolist() == R


@pytest.mark.parametrize(
    ("trained", "task"), [([], []), ([1, 1], [1, 2]), ([1, 1, 2, 2, 2], [1, 2, 1, 2, 2])]
)
def test_a_run_that_has_not_ended_has_no_matrix(trained: list[int], task: list[int]) -> None:
    with pytest.raises(ValueError, match="different entries"):
        error_matrix(trained, task, [1.0] * len(task))


CURVE = {0.01: (30.0, 1.0), 0.03: (20.0, 3.0), 0.1: (10.0, 7.0), 0.3: (12.0, 30.0)}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (25.0, 2.0),
        (20.0, 3.0),
        (15.0, 5.0),
        (30.0, 1.0),
        (11.0, 6.6),  # 18.5 with the rate that is too large
        (10.0, 7.0),
        (9.9, None),
        (30.1, None),
    ],
)
def test_forgetting_is_interpolated_at_a_learning_error(
    target: float, expected: float | None
) -> None:
    result = at_matched_plasticity(CURVE, target)
    assert result == (None if expected is None else pytest.approx(expected))


def test_rates_are_sorted() -> None:
    shuffled = {rate: CURVE[rate] for rate in (0.1, 0.01, 0.3, 0.03)}
    assert at_matched_plasticity(shuffled, 15.0) == pytest.approx(5.0)
    assert at_matched_plasticity({}, 15.0) is None
    assert at_matched_plasticity({0.1: (15.0, 4.0)}, 15.0) == 4.0
