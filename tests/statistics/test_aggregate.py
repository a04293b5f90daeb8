from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.aggregate import interquartile_mean, probability_of_improvement


def draw(shift: float = 0.0, datasets: int = 4, seeds: int = 10, seed: int = 0) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {f"d{k}": (rng.normal(k, 1, seeds) + shift).tolist() for k in range(datasets)}


def test_the_interquartile_mean_is_the_trimmed_mean() -> None:
    scores = draw()
    pooled = np.concatenate(list(scores.values()))
    result = interquartile_mean(scores)
    assert result.value == pytest.approx(stats.trim_mean(pooled, 0.25))
    assert result.low is not None
    assert result.high is not None
    assert result.low < result.value < result.high


def test_values_at_the_quartiles_count_in_part() -> None:
    # The middle half of six values is the third, the fourth, and half of each neighbour.
    result = interquartile_mean({"a": [1.0, 2.0, 3.0], "b": [5.0, 8.0, 100.0]})
    assert result.value == pytest.approx((2.0 / 2 + 3.0 + 5.0 + 8.0 / 2) / 3)


def test_every_dataset_has_the_same_weight() -> None:
    few = interquartile_mean({"a": [1.0, 2.0], "b": [4.0, 6.0]})
    assert few.value == pytest.approx(
        interquartile_mean({"a": [1.0, 1.0, 2.0, 2.0], "b": [4.0, 6.0]}).value
    )
    assert few.value == pytest.approx(3.0)


def test_outliers_do_not_move_it() -> None:
    scores = draw(datasets=2, seeds=6)
    wild = {**scores, "d1": [*scores["d1"][:5], 1e6]}
    assert abs(interquartile_mean(wild).value - interquartile_mean(scores).value) < 1


def errors_of(rng: np.random.Generator, *means: float, seeds: int = 5) -> dict[str, list[float]]:
    return {f"d{at}": (mean * rng.normal(1, 0.05, seeds)).tolist() for at, mean in enumerate(means)}


def test_ratios_are_to_the_mean_of_the_control() -> None:
    result = interquartile_mean(
        {"a": [2.0, 4.0, 6.0], "b": [5.0, 8.0, 100.0]}, over={"b": [10.0, 10.0], "a": [1.0, 3.0]}
    )
    ratios = {"a": [1.0, 2.0, 3.0], "b": [0.5, 0.8, 10.0]}
    assert result.value == pytest.approx(interquartile_mean(ratios).value)
    assert (result.seeds, result.datasets) == (2, 2)


def test_the_uncertainty_of_a_control_is_included() -> None:
    """Without the control's own seeds 95 % intervals of a true ratio of 1 cover about 85 %."""
    rng = np.random.default_rng(0)
    means = [1.0, 2.0, 3.0, 4.0, 5.0]
    covered, exact = 0, 0
    for _ in range(200):
        errors, control = errors_of(rng, *means), errors_of(rng, *means)
        result = interquartile_mean(errors, over=control)
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= 1 <= result.high
        ratios = {k: (np.array(v) / np.mean(control[k])).tolist() for k, v in errors.items()}
        plain = interquartile_mean(ratios)
        assert plain.value == pytest.approx(result.value)
        exact += (plain.low or 0) <= 1 <= (plain.high or 0)
    assert covered / 200 > 0.91
    assert exact / 200 < 0.91


def test_variation_that_common_seeds_share_cancels_in_a_ratio() -> None:
    control = errors_of(np.random.default_rng(0), 1.0, 2.0)
    errors = {name: [2 * value for value in values] for name, values in control.items()}
    turned = {name: values[1:] + values[:1] for name, values in control.items()}
    same, other = interquartile_mean(errors, over=control), interquartile_mean(errors, over=turned)
    assert same.value == pytest.approx(other.value)
    assert same.high is not None
    assert other.high is not None
    assert same.high - (same.low or 0) < other.high - (other.low or 0)


@pytest.mark.parametrize("control", [{}, {"a": []}, {"a": [0.0, 0.0]}])
def test_a_control_that_cannot_divide_is_refused(control: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"must have a value|positive mean"):
        interquartile_mean({"a": [1.0, 2.0]}, over=control)


def test_the_probability_of_improvement_is_mann_and_whitneys_u() -> None:
    a, b = draw(seed=0), draw(0.5, seed=1)
    expected = np.mean([1 - stats.mannwhitneyu(a[k], b[k]).statistic / 100 for k in a])
    assert probability_of_improvement(a, b).value == pytest.approx(expected)


def test_equal_values_count_half_and_sides_sum_to_one() -> None:
    assert probability_of_improvement({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}).value == 0.5
    a, b = draw(seed=0), draw(0.5, seed=1)
    both = probability_of_improvement(a, b).value + probability_of_improvement(b, a).value
    assert both == pytest.approx(1.0)


def test_datasets_of_one_side_are_not_used() -> None:
    a, b = draw(datasets=4), draw(0.5, datasets=3, seed=1)
    result = probability_of_improvement(a, b)
    assert result.datasets == 3
    assert result == probability_of_improvement({k: a[k] for k in b}, b)


def test_the_interval_is_marked_where_seeds_are_too_few() -> None:
    assert interquartile_mean(draw(datasets=3, seeds=20)).holds
    assert interquartile_mean(draw(datasets=5, seeds=5)).holds
    assert not interquartile_mean(draw(datasets=3, seeds=10)).holds
    assert not interquartile_mean(draw(datasets=10, seeds=3)).holds
    never = probability_of_improvement(draw(), draw(100.0))
    assert (never.value, never.holds) == (1.0, False)


def test_one_seed_has_no_interval() -> None:
    result = interquartile_mean({"a": [1.0], "b": [2.0, 3.0]})
    assert (result.low, result.as_dict()["ci95"], result.seeds) == (None, None, 1)


@pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": [1.0, float("nan")]}])
def test_values_that_are_not_finite_are_refused(scores: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"finite|must have a value"):
        interquartile_mean(scores)
