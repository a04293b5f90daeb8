from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.examples import DIFFER, Right, examples, right


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[Right, Right]:
    """Return two vectors of right predictions from a table of counts."""
    counts = [both, only_a, only_b, neither]
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


def test_the_highest_logit_counts() -> None:
    logits = np.array([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]], dtype=np.float16)
    assert right(logits, np.array([1, 1, 0])).tolist() == [True, False, True]


def test_mcnemar_of_a_published_table() -> None:
    # Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009;
    # Fagerland, Lydersen & Laake 2013, table 1): 1, 1, 7, 12; exact 0.0703, mid-p 0.0391.
    result = examples(*table(1, 1, 7, 12))
    assert result.p == pytest.approx(0.0703, abs=5e-5)
    assert result.p_mid == pytest.approx(0.0391, abs=5e-5)
    assert (result.worse, result.better, result.n) == (7, 1, 21)
    assert result.points == pytest.approx(100 * 6 / 21)


def test_one_seed_is_the_binomial_test_of_discordant_examples() -> None:
    result = examples(*table(9000, 130, 180, 690))
    assert result.p == pytest.approx(stats.binomtest(130, 310).pvalue)
    assert result.points == pytest.approx(0.5)


def test_the_interval_is_the_bootstrap_of_scipy() -> None:
    a, b = table(300, 12, 30, 18)
    result = examples(a, b)
    differences = 100 * (b.astype(float) - a.astype(float))
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    # Means are multiples of one example in 360.
    assert result.low == pytest.approx(expected.low, abs=0.3)
    assert result.high == pytest.approx(expected.high, abs=0.3)


def test_the_same_comparison_gives_the_same_interval() -> None:
    assert examples(*table(300, 12, 30, 18)) == examples(*table(300, 12, 30, 18))


def test_seeds_are_averaged_and_not_counted_as_examples() -> None:
    a, b = table(300, 10, 25, 25)
    one = examples(a, b)
    thrice = examples(np.stack([a] * 3), np.stack([b] * 3))
    assert (thrice.n, thrice.seeds) == (360, 3)
    assert thrice.points == pytest.approx(one.points)
    assert thrice.p == pytest.approx(one.p)
    assert (thrice.low, thrice.high) == pytest.approx((one.low, one.high))
    # The test that would count three seeds as three test sets.
    assert examples(np.tile(a, 3), np.tile(b, 3)).p < one.p / 3


def test_averaging_over_seeds_removes_chance_of_one_network() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=(5, 2000)) > 0.10, rng.uniform(size=(5, 2000)) > 0.12
    result, one = examples(a, b), examples(a[0], b[0])
    assert result.low is not None
    assert result.high is not None
    assert one.low is not None
    assert one.high is not None
    assert result.high - result.low < 0.6 * (one.high - one.low)
    assert result.points == pytest.approx(100 * (b.mean() - a.mean()))


def test_too_few_differing_examples_give_no_interval() -> None:
    result = examples(*table(350, 0, DIFFER - 1, 0))
    assert (result.low, result.high) == (None, None)
    assert result.reason is not None
    assert str(DIFFER - 1) in result.reason
    same = examples(*table(300, 0, 0, 60))
    assert (same.p, same.points, same.low) == (1.0, 0.0, None)
    assert examples(*table(350, 0, DIFFER, 0)).low is not None


def test_different_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds and examples"):
        examples(np.ones(10, dtype=bool), np.ones(11, dtype=bool))
    with pytest.raises(ValueError, match="same seeds and examples"):
        examples(np.ones(0, dtype=bool), np.ones(0, dtype=bool))
