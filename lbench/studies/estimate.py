"""Estimate of the duration and cost of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lbench.studies.definition import Point
from lbench.studies.space import trial_count
from lbench.studies.step_costs import Cost
from lbench.studies.study_plan import StudyPlan
from lbench.training.full_audit import USUAL_SECONDS, cache_key, expected_seconds
from lbench.training.glances import COST, LEAST, SHARE

OVERHEAD = 0.3
"""Seconds per run besides its training, as benchmarks/trial.py measures them."""
PRUNED = 0.6
"""Share of a search's epochs that are trained when most trials are pruned early."""
START = 5.0
"""Seconds until a new worker process trains: it imports torch and reads the data."""
JOBS = 50
"""Runs after which a worker process is replaced."""
REPORT = 5.0
"""Seconds for the store, the report and its figures."""


@dataclass(frozen=True, slots=True)
class PointCost:
    """What the runs at a point cost.

    Args:
        runs: number of trials and final runs.
        run: seconds of one final run, with its evaluation, on one worker process.
        seconds: seconds of all runs and their audits, on one worker process.
        threads: threads of a run on the CPU.
    """

    runs: int
    run: float
    seconds: float
    threads: int


@dataclass(frozen=True, slots=True)
class StudyCost:
    """What a study costs.

    Args:
        points: cost at each point that could be timed, by its key.
        workers: number of worker processes.
        untimed: number of points that could not be timed.
    """

    points: Mapping[str, PointCost]
    workers: int = 1
    untimed: int = 0

    @property
    def seconds(self) -> float:
        """Return the seconds from the first run to the report, without the untimed points."""
        if not self.points:
            return 0.0
        busy = sum(point.seconds for point in self.points.values())
        runs = sum(point.runs for point in self.points.values())
        # The last runs cannot be divided: at the end some worker processes have nothing to do.
        longest = max(point.run for point in self.points.values())
        starts = max(1, -(-runs // self.workers // JOBS))
        return max(busy / self.workers, longest) + starts * START + REPORT

    @property
    def core_hours(self) -> float:
        """Return the hours of a core that all runs take; of a GPU if they are on one."""
        return sum(point.seconds * point.threads for point in self.points.values()) / 3600


def study_cost(plan: StudyPlan, costs: Mapping[str, Cost], workers: int = 1) -> StudyCost:
    """Return the cost of all runs of a plan.

    Args:
        plan: the plan.
        costs: cost at each point that could be timed, by its key.
        workers: number of worker processes.
    """
    audited: set[str] = set()
    counted: set[str] = set()
    points = {}
    for point in plan.points:
        if point.key not in costs:
            continue
        cost = _point_cost(plan, point, costs[point.key], audited)
        runs = repr((plan.resolved[point.key].cell.fingerprint, plan.budgets.get(point.key)))
        if runs in counted and _repeatable(plan):
            # Runs that another point has are not trained again.
            cost = replace(cost, run=0.0, seconds=0.0)
        counted.add(runs)
        points[point.key] = cost
    return StudyCost(points, workers, len(plan.points) - len(points))


def _repeatable(plan: StudyPlan) -> bool:
    """Return whether points with the same configuration have the same runs."""
    search = plan.study.search
    return search is None or search.sampler in ("qmc", "grid")


def _point_cost(plan: StudyPlan, point: Point, cost: Cost, audited: set[str]) -> PointCost:
    """Return the cost of all runs at a point.

    Args:
        audited: keys of the audits that an earlier point makes; gets those of this point.
    """
    study, resolved = plan.study, plan.resolved[point.key]
    cell, data = resolved.cell, resolved.dataset
    train, test = data.examples
    learned = cell.labels * train * (1 - cell.validation)
    budget = plan.budgets.get(point.key)
    examples = cell.budget.examples if budget is None else budget.final
    epochs = examples / learned if examples else cell.budget.epochs or 0

    def run(epochs: float) -> float:
        # The epochs of a sequence are per task, and its examples those of all tasks.
        steps = epochs * learned / cell.recipe.batch
        glances = min(steps, max(LEAST, SHARE * steps / COST))
        # After each epoch of one task of a sequence the model is evaluated on all tasks.
        evaluated = learned + test + 0.1 * train * epochs * max(1, len(data.segments))
        return (steps + COST * glances) * cost.step + evaluated * cost.evaluation + OVERHEAD

    final = run(epochs)
    # A search adds as many runs of the defaults, with which its choice is compared.
    runs = study.seeds * (1 if study.search is None else 2)
    seconds = runs * final
    if (key := cache_key(cell, cost.blocks)) not in audited:
        audited.add(key)
        seconds += expected_seconds(cell, cost.blocks)
    if (search := study.search) is not None:
        space = plan.spaces[point.key]
        trials = trial_count(search, space) * search.seeds
        share = PRUNED if search.pruning and len(search.objectives) == 1 else 1.0
        seconds += trials * share * run(search.epochs or epochs)
        runs += trials
        if any(name in type(cell.config).model_fields for name in space):
            seconds += USUAL_SECONDS  # of the options that the search chooses
    return PointCost(runs, final, seconds, cost.threads)
