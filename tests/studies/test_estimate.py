"""The estimate of a study counts what its runs cost beside their steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lbench.registry import registry
from lbench.studies import plan as planning
from lbench.studies.definition import Arm, Search
from lbench.studies.estimate import JOBS, OVERHEAD, REPORT, START, study_cost
from lbench.studies.step_costs import Cost
from lbench.studies.study_plan import StudyPlan
from lbench.training.full_audit import USUAL_SECONDS
from tests.studies.helper import study

COST = Cost(step=0.5, evaluation=0.001, flops=1.0, threads=2)
BATCH = 32


@pytest.fixture(autouse=True)
def _no_cached_audits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path))


def make_plan(search: Search | None = None, seeds: int = 2) -> StudyPlan:
    """Return a plan of two points that differ in the learning rate, each of 10 epochs."""
    arms = [Arm("bp", axes={"lr": (0.001, 0.002)}, settings={"epochs": 10, "batch": BATCH})]
    asked = study(*arms, datasets=("digits",), seeds=seeds, search=search)
    return planning.plan(asked, registry())


def test_a_run_has_steps_glances_evaluations_and_an_overhead() -> None:
    plan = make_plan()
    cost = study_cost(plan, {point.key: COST for point in plan.points})
    learned, test = next(iter(plan.resolved.values())).dataset.examples
    steps = 10 * learned / BATCH
    glances = 4 * 9  # four glances, each as long as nine steps
    evaluated = learned + test + 0.1 * learned * 10
    run = (steps + glances) * 0.5 + evaluated * 0.001 + OVERHEAD
    first, second = cost.points.values()
    assert (first.run, first.runs, first.threads) == (pytest.approx(run), 2, 2)
    assert first.seconds == pytest.approx(2 * run + USUAL_SECONDS)
    # Both points have the same rule, options and network: one audit.
    assert second.seconds == pytest.approx(2 * run)
    assert cost.core_hours == pytest.approx(2 * (4 * run + USUAL_SECONDS) / 3600)


def test_workers_share_the_runs_and_each_takes_time_to_start() -> None:
    plan = make_plan(seeds=60)
    costs = {point.key: COST for point in plan.points}
    one, two, many = (study_cost(plan, costs, workers) for workers in (1, 2, 10_000))
    starts = -(-120 // JOBS)
    busy = sum(point.seconds for point in one.points.values())
    assert one.seconds == pytest.approx(busy + starts * START + REPORT)
    assert two.seconds == pytest.approx(busy / 2 + 2 * START + REPORT)
    assert many.seconds > next(iter(many.points.values())).run, "no run is divided"


def test_a_search_counts_its_trials_the_runs_of_the_defaults_and_their_audits() -> None:
    plan = make_plan(Search(trials=8, pruning=False, only=("weight_decay",)))
    cost = study_cost(plan, {point.key: COST for point in plan.points})
    first = next(iter(cost.points.values()))
    assert first.runs == 8 + 2 + 2
    assert first.seconds == pytest.approx(12 * first.run + USUAL_SECONDS)


def test_runs_that_two_points_have_are_counted_once() -> None:
    plan = make_plan()
    first, second = plan.points
    same = dict.fromkeys(plan.resolved, plan.resolved[first.key])
    cost = study_cost(replace(plan, resolved=same), dict.fromkeys(same, COST))
    assert cost.points[first.key].seconds > 0
    assert (cost.points[second.key].runs, cost.points[second.key].seconds) == (2, 0)


def test_a_point_without_a_timing_is_counted_and_costs_nothing() -> None:
    plan = make_plan()
    cost = study_cost(plan, {plan.points[0].key: COST})
    assert (cost.untimed, len(cost.points)) == (1, 1)
    assert study_cost(plan, {}).seconds == 0
