from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.paired_tests import paired_tests, signed_rank, t_test


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


# Student's own data: hours of sleep gained with two soporifics (1908, Biometrika 6, 1-25).
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_students_sleep_data() -> None:
    result = paired_tests(by_seed(FIRST), by_seed(SECOND))
    assert result is not None
    assert result.difference.mean == pytest.approx(-1.58)
    assert result.difference.low == pytest.approx(-2.4598858, abs=1e-5)
    assert result.difference.high == pytest.approx(-0.7001142, abs=1e-5)
    assert result.p == pytest.approx(0.00283289, abs=1e-7)
    # One pair is equal and left out, and two share a rank, so nine signs are counted.
    assert result.wilcoxon == pytest.approx(2 / 2**9)


def test_wilcoxon_without_ties_is_scipys_exact_test() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 7, 12, 25):
        differences = rng.normal(0.4, 1.0, n)
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert signed_rank(differences.tolist())[0] == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_with_ties_is_the_permutation_test_of_the_ranks() -> None:
    differences = np.array([0.1, 0.1, -0.1, 0.2, 0.2, 0.3, -0.2, 0.4, 0.4])
    expected = stats.wilcoxon(
        differences, method=stats.PermutationMethod(n_resamples=np.inf)
    ).pvalue
    assert signed_rank(differences.tolist())[0] == pytest.approx(expected, abs=1e-12)


def test_ties_are_found_despite_rounding_of_floats() -> None:
    exact = [0.3, 0.3, 0.3, -0.3, 0.3, 0.3, 0.3]
    rounded = [1.5 - 1.2, 2.1 - 1.8, 0.3, 1.2 - 1.5, 4.4 - 4.1, 9.9 - 9.6, 0.7 - 0.4]
    assert rounded != exact
    assert signed_rank(rounded) == signed_rank(exact)


def test_wilcoxon_needs_six_pairs_that_differ() -> None:
    p, reason = signed_rank([0.1, 0.2, 0.3, 0.4, 0.5])
    assert p is None
    assert reason is not None
    assert reason == "it needs 6 pairs that differ, but there are 5"
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, 0.0])[0] is None
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])[0] == pytest.approx(2 / 2**6)


def test_seeds_that_one_side_lacks_are_left_out() -> None:
    whole = paired_tests({0: 1.0, 1: 2.0, 2: 4.0, 9: 99.0}, {0: 0.5, 1: 1.0, 2: 2.0, 7: 50.0})
    assert whole == paired_tests({0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.5, 1: 1.0, 2: 2.0})
    assert paired_tests({0: 1.0}, {1: 1.0}) is None


def test_one_pair_has_a_difference_and_no_test() -> None:
    result = paired_tests({0: 2.0}, {0: 1.5})
    assert result is not None
    assert result.difference.mean == 0.5
    assert result.p is None
    assert result.reason is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_differences_that_are_not_finite_are_refused(bad: float) -> None:
    for test in (t_test, signed_rank):
        with pytest.raises(ValueError, match="finite"):
            test([bad, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    with pytest.raises(ValueError, match="finite"):
        t_test([bad])
    with pytest.raises(ValueError, match="finite"):
        paired_tests({0: bad, 1: 1.0}, {0: 1.0, 1: 2.0})


def test_equal_differences_do_not_give_p_of_zero() -> None:
    p, reason = t_test([0.28, 0.28])
    assert p is None
    assert reason is not None
    assert t_test([0.0, 0.0, 0.0]) == (1.0, None)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_p_is_at_most_5_percent_where_the_counted_interval_excludes_zero(n: int) -> None:
    step = 100 / 359
    for examples in (0.2, 0.5, 1.0, 1.4, 1.6, 3.0, 20.0):
        result = paired_tests(
            dict.fromkeys(range(n), 5 + examples * step), dict.fromkeys(range(n), 5.0), step
        )
        assert result is not None
        assert result.p is not None
        assert result.difference.low is not None
        assert (result.p <= 0.05) == (result.difference.low > 0)
    assert t_test([0.0] * n, step) == (1.0, None)
