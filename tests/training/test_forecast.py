"""The forecast of a run's time counts steps, glances, predictions and the audit."""

from __future__ import annotations

import pytest

from lbench.step import Phase
from lbench.training.forecast import Forecast, predicted_at_end
from lbench.training.step_plan import StepPlan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("lbench.training.forecast.time.monotonic", lambda: now[0])
    return now


def plan(*phases: Phase, epochs: int = 10) -> StepPlan:
    return StepPlan.of(10_000, 100, epochs, None, phases or (Phase(),))


def test_a_forecast_needs_some_seconds_behind_the_warm_up(clock: list[float]) -> None:
    forecast = Forecast(plan(), validation=0)
    forecast.begin(0)
    answers = []
    for index in range(1, 6):
        clock[0] += 2 if index == 1 else 1.5
        answers.append(forecast.report(index))
    assert answers == [False, False, False, True, True]
    assert forecast.estimate(5).left == pytest.approx(995 * 1.5), "the slower warm-up is left out"


def test_a_slow_first_step_is_evidence_enough(clock: list[float]) -> None:
    forecast = Forecast(plan(), validation=0)
    forecast.begin(0)
    clock[0] += 12
    assert forecast.report(1)
    assert forecast.estimate(1).left == pytest.approx(12 * 999)


def test_evaluations_glances_and_the_audit_are_counted(clock: list[float]) -> None:
    steps = frozenset({0, 1, 500, 999})
    forecast = Forecast(plan(), validation=1000, at_end=14_000, glances=steps, audit=5.0)
    forecast.begin(0)
    for seconds in (20, 7):
        with forecast.glancing():
            clock[0] += seconds
    with forecast.untimed(steps=1):
        clock[0] += 3
    clock[0] += 1
    forecast.report(2)
    clock[0] += 10
    forecast.report(102)
    forecast.prediction = 0.001
    estimate = forecast.estimate(102)
    end = 14_000 * 0.001 + 5
    assert estimate.end == pytest.approx(end)
    # 898 steps, two glances, and nine epochs that still end.
    assert estimate.left == pytest.approx(898 * 0.1 + 2 * 7 + 9 * 1 + end)
    assert estimate.whole == pytest.approx(1000 * 0.1 + 4 * 7 + 10 * 1 + end)
    assert forecast.estimate(1000).left == pytest.approx(end)


def test_glances_count_as_nine_steps_before_the_second_one_was_timed(clock: list[float]) -> None:
    forecast = Forecast(plan(), validation=0, glances=frozenset({0, 900}))
    forecast.begin(0)
    with forecast.glancing():
        clock[0] += 20
    clock[0] += 15
    forecast.report(100)
    assert forecast.estimate(100).left == pytest.approx((900 + 9) * 0.15)


def test_each_phase_has_its_own_pace_once_it_has_begun(clock: list[float]) -> None:
    forecast = Forecast(plan(Phase("first"), Phase("second")), validation=0)
    forecast.begin(498)
    for index, seconds in ((499, 1), (500, 4), (501, 1)):
        clock[0] += seconds
        forecast.report(index)
    assert forecast.estimate(501).left == pytest.approx(499 * 1)
    assert forecast.estimate(400).left == pytest.approx(100 * 4 + 500 * 1)


def test_a_machine_that_becomes_slower_changes_the_pace(clock: list[float]) -> None:
    forecast = Forecast(plan(epochs=100), validation=0)
    forecast.begin(0)
    for index in range(1, 1001):
        clock[0] += 1 if index < 500 else 2
        forecast.report(index)
    assert forecast.estimate(1000).left == pytest.approx(2 * 9000, rel=0.1)


@pytest.mark.parametrize(
    ("epochs", "validation", "test", "examples"),
    [
        (10, 1000, 2000, 9000 + 2 * 2000),
        (1, 1000, 2000, 9000 + 2000),  # the only epoch is the best one
        (10, 0, 2000, 9000 + 2000),
        (10, 1000, None, 9000 + 1000),
    ],
)
def test_the_test_set_is_read_twice_only_if_the_best_epoch_may_be_another(
    epochs: int, validation: int, test: int | None, examples: int
) -> None:
    assert predicted_at_end(plan(epochs=epochs), 9000, validation, test) == examples
