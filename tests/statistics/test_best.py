from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.best import best_set, indistinguishable, two_proportions
from lbench.statistics.examples import examples
from lbench.store.rows import RunRow
from lbench.studies.best_trials import indistinguishable_trials
from lbench.studies.results import Trial


def by_seed(values: list[float], first: int = 0) -> dict[int, float]:
    return dict(enumerate(values, start=first))


NEAR = [1.82, 1.95, 1.90, 1.88, 1.93]
LOW = [1.80, 1.91, 1.92, 1.85, 1.90]
FAR = [3.10, 3.22, 3.05, 3.18, 3.11]


def test_groups_that_are_not_significantly_higher_are_in_the_set() -> None:
    result = best_set([by_seed(FAR), by_seed(NEAR), by_seed(LOW)])
    assert result.lowest == 2
    assert result.members == (1, 2)
    assert result.tests[2] is None


def test_common_seeds_are_paired_and_p_is_adjusted_by_holm() -> None:
    result = best_set([by_seed(LOW), by_seed(NEAR), by_seed(FAR)])
    near, far = result.tests[1], result.tests[2]
    assert near is not None
    assert far is not None
    assert (near.method, far.method) == ("paired", "paired")
    assert near.p == pytest.approx(stats.ttest_rel(NEAR, LOW).pvalue)
    assert far.p == pytest.approx(stats.ttest_rel(FAR, LOW).pvalue)
    assert far.adjusted == pytest.approx(2 * stats.ttest_rel(FAR, LOW).pvalue)


def test_different_seeds_are_compared_by_welch() -> None:
    result = best_set([by_seed(LOW), by_seed(NEAR, first=100)])
    (test,) = [test for test in result.tests if test is not None]
    assert test.method == "welch"
    assert test.p == pytest.approx(stats.ttest_ind(NEAR, LOW, equal_var=False).pvalue)


def test_pairing_separates_groups_with_the_same_spread() -> None:
    a = [1.0, 3.0, 5.0, 7.0]
    b = [value + 0.1 + 0.01 * at for at, value in enumerate(a)]
    assert best_set([by_seed(a), by_seed(b)]).members == (0,)
    assert best_set([by_seed(a), by_seed(b, first=9)]).members == (0, 1)


CONSTANT = [{0: 0.84, 1: 0.84}, {0: 89.97, 1: 89.97}]


@pytest.mark.parametrize(
    "groups",
    [
        CONSTANT,
        [{0: 10.0, 1: 10.0, 2: 10.0}, {0: 60.0, 1: 60.0, 2: 60.0}],
        [{0: 0.0, 1: 0.0, 2: 0.0}, {0: 50.0, 1: 50.0, 2: 50.0}],
        [{0: 10.0, 1: 10.0, 2: 10.0}, {5: 60.0, 6: 60.0, 7: 60.0}],
        [{0: 2.0, 1: 2.5, 2: 2.2}, {0: 52.0, 1: 52.5, 2: 52.2}],
        [{0: 0.84}, {0: 89.97}],
        [{0: 0.84}, {1: 89.97, 2: 89.97}],
        [by_seed(LOW), {0: 90.0}],
    ],
    ids=["two", "three", "from 0", "unpaired", "same difference", "one", "one, other", "many"],
)
def test_groups_without_spread_do_not_stay_in_the_set(groups: list[dict[int, float]]) -> None:
    result = best_set(groups, 359)
    assert result.members == (0,)
    assert result.tests[1] is not None
    assert result.tests[1].method == "two proportions"
    # Without their number, few test examples are assumed.
    assert best_set(groups).members == (0,)
    assert best_set(groups[::-1]).members == (1,)


def test_two_seeds_separate_a_rule_that_hardly_learns() -> None:
    errors = [(1.5, 1.6), (1.5, 1.9), (2.1, 2.6), (3.2, 2.9), (9.8, 14.1), (41.0, 49.0)]
    result = best_set([dict(enumerate(pair)) for pair in errors], 359)
    assert result.members == (0, 1, 2, 3)


def test_constant_seeds_that_are_close_stay_in_the_set() -> None:
    # 1.11 and 1.67 % are 4 and 6 wrong of 359; 1.00 and 1.00 are the same.
    close = [{0: 1.11, 1: 1.11, 2: 1.11}, {0: 1.67, 1: 1.67, 2: 1.67}]
    assert best_set(close, 359).members == (0, 1)
    assert best_set([{0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}], 10_000).members == (0, 1)
    assert best_set([by_seed(LOW), {0: 1.9}], 10_000).members == (0, 1)


def test_stored_predictions_decide_where_seeds_cannot() -> None:
    n = 1000
    # The same 20 examples are wrong, and 12 more: two proportions do not differ significantly.
    low, high = vectors(n, range(20), range(32))
    groups = [{0: 2.0, 1: 2.0}, {0: 3.2, 1: 3.2}]
    assert best_set(groups, n).members == (0, 1)
    result = best_set(groups, n, lambda at, seed: [low, high][at])
    assert result.members == (0,)
    assert result.tests[1] is not None
    assert result.tests[1].method == "mcnemar"
    assert result.tests[1].p == pytest.approx(examples(high, low).p)
    # Different seeds are paired by example too, unless one side has no predictions.
    others = [{0: 2.0}, {7: 3.2}]
    assert best_set(others, n, lambda at, seed: [low, high][at]).members == (0,)
    lost = best_set(groups, n, lambda at, seed: [low, None][at])
    assert lost.tests[1] is not None
    assert lost.tests[1].method == "two proportions"


def test_a_test_on_some_of_the_common_seeds_is_named_so() -> None:
    low, high = vectors(1000, range(20), range(32))
    groups = [{0: 2.0, 1: 2.0}, {0: 3.2, 1: 3.2}]
    result = best_set(groups, 1000, lambda at, seed: None if seed else [low, high][at])
    assert result.tests[1] is not None
    assert result.tests[1].method == "mcnemar of some seeds"


def test_predictions_are_not_read_where_seeds_decide() -> None:
    def never(at: int, seed: int) -> None:
        raise AssertionError

    assert best_set([by_seed(LOW), by_seed(FAR)], 1000, never).members == (0,)


def test_a_group_that_is_lower_on_common_seeds_is_not_left_out() -> None:
    lowest = {0: 3.0, 1: 3.1, 2: 3.2, 3: 0.1, 4: 0.2, 5: 0.1}
    other = {0: 2.0, 1: 2.11, 2: 2.2}
    result = best_set([lowest, other])
    assert result.tests[1] is not None
    assert result.tests[1].adjusted < 0.05
    assert result.members == (0, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_an_error_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        best_set([{0: 1.0, 1: bad}, {0: 2.0, 1: 2.0}])


def test_a_group_without_a_finished_run_is_in_no_set() -> None:
    result = best_set([{}, by_seed(LOW)])
    assert (result.lowest, result.members, result.tests) == (1, (1,), (None, None))
    with pytest.raises(ValueError, match="No group"):
        best_set([{}, {}])


def vectors(n: int, *wrong: range) -> list[np.ndarray]:
    correct = []
    for indices in wrong:
        vector = np.ones(n, dtype=bool)
        vector[list(indices)] = False
        correct.append(vector)
    return correct


def test_trials_are_compared_on_the_same_examples() -> None:
    n = 1000
    # 20 wrong; the same and 4 more; the same and 30 more; 20 others.
    correct = vectors(n, range(20), range(24), range(50), range(500, 520))
    errors = [100 * float(1 - value.mean()) for value in correct]
    assert indistinguishable(errors, correct, n) == [0, 1, 3]


def test_the_set_is_adjusted_for_the_number_of_trials() -> None:
    n = 1000
    best, other = vectors(n, range(20), range(28))
    assert examples(other, best).p < 0.05
    assert indistinguishable([2.0, 2.8], [best, other], n) == [0]
    many = [best] + [other] * 20
    assert indistinguishable([2.0] + [2.8] * 20, many, n) == list(range(21))


def test_trials_without_predictions_are_compared_as_two_proportions() -> None:
    n = 1000
    (best,) = vectors(n, range(20))
    assert indistinguishable([2.0, 2.8, 6.0], [best, None, None], n) == [0, 1]
    assert indistinguishable([2.0, 6.0], [None, best], n) == [0]
    table = [[20, 980], [60, 940]]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert two_proportions(2.0, 6.0, n) == pytest.approx(expected)
    assert two_proportions(0.0, 0.0, n) == 1.0
    for bad in (float("nan"), -1.0, 100.1):
        with pytest.raises(ValueError, match="from 0 to 100"):
            two_proportions(2.0, bad, n)


def test_trials_are_compared_with_the_given_one() -> None:
    n = 1000
    # 20 wrong, 60 wrong and 64 wrong.
    correct = vectors(n, range(20), range(60), range(64))
    errors = [100 * float(1 - value.mean()) for value in correct]
    assert indistinguishable(errors, correct, n) == [0]
    # A trial with a lower error is not left out.
    assert indistinguishable(errors, correct, n, best=1) == [0, 1, 2]


def stored_trial(root: Path, number: int, wrong: range, value: float) -> Trial:
    """Return a complete trial whose first seed is wrong on these of 1,000 validation examples."""
    labels = np.zeros(1000, dtype=np.int64)
    logits = np.tile([1.0, 0.0], (1000, 1))
    logits[list(wrong)] = [0.0, 1.0]
    folder = root / str(number)
    folder.mkdir()
    np.save(folder / "val_logits.npy", logits)
    np.save(folder / "val_labels.npy", labels)
    run = cast(RunRow, SimpleNamespace(run_dir=folder))
    return Trial(number, "complete", {}, (value,), runs=[run])


def test_a_search_with_several_seeds_has_the_set_of_its_best_by_mean(tmp_path: Path) -> None:
    # Trial 1 has the lowest mean; trial 0 has a low error with its first seed only.
    trials = [
        stored_trial(tmp_path, 0, range(20), 7.0),
        stored_trial(tmp_path, 1, range(60), 5.0),
        stored_trial(tmp_path, 2, range(64), 6.0),
        stored_trial(tmp_path, 3, range(200), 20.0),
    ]
    result, n = indistinguishable_trials(trials, trials[1])
    assert ([trial.number for trial in result], n) == ([1, 0, 2], 1000)


def test_invalid_trials_are_refused() -> None:
    assert indistinguishable([], [], 10) == []
    with pytest.raises(ValueError, match="finite"):
        indistinguishable([float("nan")], [None], 10)
    with pytest.raises(ValueError, match="must have the shape"):
        indistinguishable([1.0], [np.ones(9, dtype=bool)], 10)


def test_pairs_that_hardly_spread_are_tested_with_the_resolution_of_the_test_set() -> None:
    lower = dict.fromkeys(range(10), 100 * 20 / 359)
    higher = {seed: 100 * (22 if seed else 21) / 359 for seed in range(10)}
    coarse, fine = (best_set([lower, higher], n).tests[1] for n in (359, None))
    assert coarse is not None
    assert fine is not None
    assert coarse.method == fine.method == "paired"
    assert coarse.p > 2 * fine.p
