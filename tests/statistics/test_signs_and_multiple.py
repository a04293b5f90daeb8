from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.multiple import holm
from lbench.statistics.signs import two_sided


def by_brute_force(terms: list[int]) -> tuple[float, float]:
    """Return p and mid-p from all 2^n combinations of signs."""
    seen = abs(sum(terms))
    sums = [
        abs(sum(sign * abs(term) for sign, term in zip(signs, terms, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(terms))
    ]
    far = sum(value > seen for value in sums) / len(sums)
    same = sum(value == seen for value in sums) / len(sums)
    return far + same, far + same / 2


@pytest.mark.parametrize(
    "terms",
    [[1], [1, 1, -1], [2, -4, 6, 6], [3, 1, -2, 5, 1, 1, -1], [5, -5, 10], [7, 3, 3, -1, -1, 2, 9]],
)
def test_all_signs_are_counted(terms: list[int]) -> None:
    assert two_sided(np.array(terms)) == pytest.approx(by_brute_force(terms), abs=1e-12)


def test_zeros_do_not_count() -> None:
    assert two_sided(np.array([0, 3, 0, -1, 2])) == two_sided(np.array([3, -1, 2]))
    assert two_sided(np.zeros(9, dtype=np.int64)) == (1.0, 1.0)


def test_terms_of_one_size_are_a_sign_test() -> None:
    terms = np.repeat([1, -1, 0], [121, 59, 9000])
    p, mid = two_sided(terms)
    assert p == pytest.approx(stats.binomtest(59, 180).pvalue)
    assert mid == pytest.approx(p - stats.binom.pmf(59, 180, 0.5))


def test_many_large_terms_are_quick_and_close_to_the_normal_limit() -> None:
    rng = np.random.default_rng(0)
    terms = rng.integers(-5, 6, size=20_000)
    _, mid = two_sided(terms)
    limit = 2 * stats.norm.sf(abs(terms.sum()) / np.sqrt((terms**2).sum()))
    assert mid == pytest.approx(limit, abs=1e-4)


def test_holm_as_in_a_worked_example() -> None:
    # p of 0.01, 0.02, 0.03 and 0.005 in any order: 4 x 0.005, 3 x 0.01, 2 x 0.02, then monotone.
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])


def test_a_test_that_was_not_made_does_not_count() -> None:
    assert holm([None, 0.02, None, 0.04]) == pytest.approx([None, 0.04, None, 0.04])
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize("bad", [float("nan"), -0.01, 1.5, float("inf")])
def test_invalid_p_values_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="p-value"):
        holm([0.01, bad, 0.001])


def test_holm_never_exceeds_one_and_keeps_the_order() -> None:
    values = np.random.default_rng(0).uniform(size=30).tolist()
    adjusted = holm(values)
    assert all(
        value <= by_holm <= 1.0
        for value, by_holm in zip(values, adjusted, strict=True)
        if by_holm is not None
    )
    assert np.argsort(values, kind="stable").tolist() == sorted(
        range(30), key=lambda at: (adjusted[at] or 0.0, values[at])
    )
