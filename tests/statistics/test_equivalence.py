from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.equivalence import paired_equivalence, welch_equivalence


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


A = [2.01, 1.93, 2.10, 1.98, 2.05, 1.99]
B = [1.98, 1.95, 2.02, 2.00, 2.01, 1.96]


def test_both_one_sided_tests_are_scipys() -> None:
    for margin in (0.02, 0.1):
        result = paired_equivalence(by_seed(A), by_seed(B), margin)
        assert result is not None
        shifted = [
            stats.ttest_rel(A, np.array(B) + margin, alternative="less").pvalue,
            stats.ttest_rel(A, np.array(B) - margin, alternative="greater").pvalue,
        ]
        assert result.p == pytest.approx(max(shifted))
        assert result.p_different == pytest.approx(stats.ttest_rel(A, B).pvalue)
        ends = stats.ttest_rel(A, B).confidence_interval(0.90)
        assert (result.low, result.high) == pytest.approx((ends.low, ends.high))


def test_both_one_sided_welch_tests_are_scipys() -> None:
    b = [*B, 2.4]
    result = welch_equivalence(A, b, 0.3)
    shifted = [
        stats.ttest_ind(A, np.array(b) + 0.3, equal_var=False, alternative="less").pvalue,
        stats.ttest_ind(A, np.array(b) - 0.3, equal_var=False, alternative="greater").pvalue,
    ]
    assert result.p == pytest.approx(max(shifted))
    ends = stats.ttest_ind(A, b, equal_var=False).confidence_interval(0.90)
    assert (result.low, result.high) == pytest.approx((ends.low, ends.high))


def test_equivalent_is_the_interval_inside_the_margin() -> None:
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(300):
        shift = rng.uniform(0, 0.4)
        a, b = rng.normal(2, 0.1, 5).tolist(), rng.normal(2 + shift, 0.1, 5).tolist()
        for result in (
            paired_equivalence(by_seed(a), by_seed(b), 0.2),
            welch_equivalence(a, b, 0.2),
        ):
            assert result is not None
            assert result.low is not None
            assert result.high is not None
            inside = result.low >= -0.2 and result.high <= 0.2
            assert (result.verdict == "equivalent") == inside
            verdicts.add(result.verdict)
    assert verdicts == {"equivalent", "different", "undecided"}


def test_a_real_difference_below_the_margin_is_equivalent() -> None:
    b = by_seed([2.0 + 0.001 * seed for seed in range(6)])
    a = {seed: value + 0.05 + 0.001 * (seed % 2) for seed, value in b.items()}
    result = paired_equivalence(a, b, 0.1)
    assert result is not None
    assert result.p_different is not None
    assert result.p_different < 0.001
    assert result.verdict == "equivalent"


def test_without_spread_three_pairs_are_needed() -> None:
    for n, verdict in ((1, "undecided"), (2, "undecided"), (3, "equivalent")):
        result = paired_equivalence(by_seed([2.0] * n), by_seed([2.0] * n), 0.1)
        assert result is not None
        assert (result.p, result.low, result.verdict) == (None, None, verdict)
    for n, verdict in ((1, "undecided"), (2, "undecided"), (3, "different"), (5, "different")):
        for sign in (1, -1):
            far = paired_equivalence(by_seed([2.0 + 5 * sign] * n), by_seed([2.0] * n), 0.2)
            assert far is not None
            assert (far.p, far.low, far.verdict) == (None, None, verdict)
    shifted = paired_equivalence(by_seed([value + 5 for value in A]), by_seed(A), 0.2)
    assert shifted is not None
    assert shifted.verdict == "different"
    assert welch_equivalence([7.0] * 3, [2.0] * 3, 0.2).verdict == "different"


def test_counted_errors_without_spread_are_decided_by_their_resolution() -> None:
    same, far = by_seed([2.0] * 2), by_seed([7.0] * 2)
    for a, margin, step, verdict in (
        (same, 0.2, 0.01, "equivalent"),
        (same, 0.2, 0.28, "undecided"),
        (far, 0.2, 0.28, "different"),
    ):
        result = paired_equivalence(a, same, margin, step)
        assert result is not None
        assert result.p is not None
        assert result.verdict == verdict


def test_no_common_seed_gives_none_and_one_value_is_undecided() -> None:
    assert paired_equivalence({0: 1.0}, {1: 1.0}, 0.1) is None
    assert welch_equivalence([1.0], [1.0, 1.1], 0.1).verdict == "undecided"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        paired_equivalence({0: bad, 1: 2.0}, {0: 1.0, 1: 2.0}, 0.2)
    with pytest.raises(ValueError, match="finite"):
        welch_equivalence([bad, 2.0], A, 0.2)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        welch_equivalence(A, B, margin)


def test_every_field_is_json() -> None:
    result = welch_equivalence(A, B, 0.1)
    assert json.loads(json.dumps(result.as_dict()))["ci90"] == [result.low, result.high]
