"""The search at a point, on an Optuna study."""

from __future__ import annotations

import itertools
import statistics
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lbench.randomness import address
from lbench.registry import Registry
from lbench.studies.defaults import SETTINGS, VALUES, best_of, has_defaults, inside
from lbench.studies.definition import Domain, Point, Search, Span, digest
from lbench.studies.space import distribution, is_integer, trial_count
from lbench.studies.study_plan import ExampleBudget

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial

STARTUP = 5
"""Complete trials before any is pruned."""
WARMUP = 3
"""Epochs of a trial before it can be pruned."""
REASON = "lbench.reason"
"""Attribute of a trial that was pruned or failed: the reason."""


@dataclass
class RunningTrial:
    """A trial that is being trained.

    Args:
        trial: Optuna's trial.
        params: the suggested settings.
        waiting: seeds whose runs have not begun.
        training: seeds that are being trained.
        results: objectives of each finished seed.
        outside: whether the settings are outside the search space, as defaults may be.
        defaults: whether the settings are the defaults, which are not pruned.
    """

    trial: OptunaTrial
    params: Mapping[str, Any]
    waiting: deque[int]
    training: set[int] = field(default_factory=set)
    results: list[Mapping[str, float]] = field(default_factory=list)
    outside: bool = False
    defaults: bool = False


class OptunaSearch:
    """The search at a point: gets trials from Optuna and reports their results to it.

    Trials that were running when an earlier process died are trained again under their numbers.

    Args:
        name: name in the storage, see :func:`search_name`.
        point: the point.
        search: number of trials, sampler, pruning and objectives.
        space: search space, by setting.
        storage: Optuna's storage.
        registry: installed rules.
        defaults: settings of trial 0 of a new search, see ``study.defaults``; a grid has them if
            they are one of its combinations. None for no such trial.
    """

    def __init__(
        self,
        name: str,
        point: Point,
        search: Search,
        space: Mapping[str, Domain],
        storage: BaseStorage,
        registry: Registry,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.point = point
        self.search = search
        self.space = space
        self._distributions = {
            setting: distribution(domain, integer=is_integer(point.rule, setting, registry))
            for setting, domain in space.items()
        }
        self.wanted = trial_count(search, space)
        self.study = _open(name, search, storage)
        trials = self._trials()
        # A search that began without the defaults continues without them.
        first = defaults if not trials or has_defaults(trials[0]) else None
        if search.sampler == "grid":
            self._enqueue_grid(len(trials), first)
        elif not trials and first is not None:
            params = dict(first) if self._can_suggest(first) else {}
            self.study.enqueue_trial(params, user_attrs={SETTINGS: dict(first)})
        self._running: dict[int, RunningTrial] = {}
        self._interrupted = deque(self._interrupted_trials())

    @property
    def ended(self) -> int:
        """Return the number of trials that are complete, pruned or failed."""
        return sum(trial.state.is_finished() for trial in self._trials())

    @property
    def done(self) -> bool:
        """Return whether all trials have ended."""
        return self.ended >= self.wanted

    @property
    def best(self) -> FrozenTrial | None:
        """Return the complete trial with the lowest first objective (the earliest of ties)."""
        return best_of(self._trials())

    @property
    def chose_defaults(self) -> bool:
        """Return whether the best trial is that of the defaults."""
        best = self.best
        return best is not None and has_defaults(best)

    def next(self) -> tuple[int, int, Mapping[str, Any]] | None:
        """Return number, seed and settings of the next run; None if there is none at the moment."""
        for number, running in self._running.items():
            # The first seed decides whether a trial is pruned, so the others wait for it.
            if running.waiting and not running.training:
                return self._start_seed(number, running)
        if self.ended + len(self._running) >= self.wanted:
            return None
        if self._interrupted:
            return self._begin(self._interrupted.popleft())
        return self._begin(self.study.ask())

    def report_epoch(self, number: int, seed: int, epoch: int, error: float | None) -> str | None:
        """Report a validation error to Optuna; return why the trial is pruned, or None.

        Args:
            number: number of the trial.
            seed: seed of the run.
            epoch: epoch of the run, from 1.
            error: validation error in percent; None where it is not finite.
        """
        if seed != 0 or error is None or not self._prunes:
            return None
        running = self._running[number]
        trial = running.trial
        reported = trial.storage.get_trial(trial._trial_id).intermediate_values
        if epoch not in reported:
            trial.report(error, step=epoch)
        # A continued run repeats the epochs of its epoch log; for these the decision was made.
        repeated = epoch < max(reported, default=epoch)
        if repeated or running.defaults or not trial.should_prune():
            return None
        complete = [t.intermediate_values for t in self._trials() if t.state.name == "COMPLETE"]
        median = statistics.median(values[epoch] for values in complete if epoch in values)
        return f"pruned at epoch {epoch}: {error:.2f} % against a median of {median:.2f} %"

    def end_run(
        self, number: int, seed: int, status: str, reason: str | None, values: Mapping[str, Any]
    ) -> bool:
        """Record the end of a trial's run; return whether the trial has ended with it.

        Args:
            number: number of the trial.
            seed: seed of the run.
            status: ``finished``, ``pruned``, ``diverged``, ``failed``; or ``killed`` if the run
                will be continued: the trial then keeps its number and stays running.
            reason: why the run has not finished; None for a finished run.
            values: objectives of a finished run.
        """
        from optuna.trial import TrialState

        running = self._running[number]
        running.training.discard(seed)
        if status == "killed":
            del self._running[number]
            return False
        if status == "finished":
            missing = [name for name in self.search.objectives if values.get(name) is None]
            if not missing:
                running.results.append(values)
                if running.waiting or running.training:
                    return False
                means = [
                    statistics.fmean(result[name] for result in running.results)
                    for name in self.search.objectives
                ]
                self._tell(number, TrialState.COMPLETE, None, means)
                return True
            status, reason = "failed", f"no value of {', '.join(missing)}"
        # Diverged trials are reported as pruned, so that samplers avoid their region; the value of
        # a failed one is unknown. With several objectives Optuna has no pruned trials.
        bad = status in ("pruned", "diverged") and len(self.search.objectives) == 1
        state = TrialState.PRUNED if bad else TrialState.FAIL
        self._tell(number, state, reason if status == "pruned" else f"{status}: {reason}")
        return True

    @property
    def _prunes(self) -> bool:
        return self.search.pruning and len(self.search.objectives) == 1

    def _begin(self, trial: OptunaTrial) -> tuple[int, int, Mapping[str, Any]]:
        defaults = trial.user_attrs.get(SETTINGS)
        outside = defaults is not None and not self._can_suggest(defaults)
        params: Mapping[str, Any] = defaults or {}
        if not outside:
            params = {
                name: trial._suggest(name, distribution)
                for name, distribution in self._distributions.items()
            }
        seeds = deque(range(self.search.seeds))
        running = RunningTrial(trial, params, seeds, outside=outside, defaults=defaults is not None)
        self._running[trial.number] = running
        return self._start_seed(trial.number, running)

    def _start_seed(self, number: int, running: RunningTrial) -> tuple[int, int, Mapping[str, Any]]:
        seed = running.waiting.popleft()
        running.training.add(seed)
        return number, seed, running.params

    def _tell(
        self, number: int, state: Any, reason: str | None, values: list[float] | None = None
    ) -> None:
        from optuna.trial import TrialState

        running = self._running.pop(number)
        trial = running.trial
        if reason is not None:
            trial.set_user_attr(REASON, reason)
        if running.outside:
            if values is not None:
                trial.set_user_attr(VALUES, values)
            state, values = TrialState.FAIL, None
        self.study.tell(trial, values, state=state)

    def _interrupted_trials(self) -> list[OptunaTrial]:
        from optuna.trial import Trial, TrialState

        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [Trial(self.study, trial._trial_id) for trial in running]

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _can_suggest(self, settings: Mapping[str, Any]) -> bool:
        # All qmc searches of a space have the same trials, whatever the defaults are.
        return self.search.sampler != "qmc" and inside(settings, self._distributions)

    def _enqueue_grid(self, enqueued: int, defaults: Mapping[str, Any] | None) -> None:
        """Enqueue the missing combinations of a grid; the defaults come first if it has them."""
        grid = list(self._combinations())
        if defaults in grid:
            grid = [dict(defaults), *(params for params in grid if params != defaults)]
        for number, params in enumerate(grid[enqueued:], start=enqueued):
            first = number == 0 and params == defaults
            self.study.enqueue_trial(params, user_attrs={SETTINGS: params} if first else None)

    def _combinations(self) -> Iterator[dict[str, Any]]:
        """Yield all combinations of the values of a space without ranges."""
        choices = [getattr(d, "choices", ()) for d in self._distributions.values()]
        for combination in itertools.product(*choices):
            yield dict(zip(self._distributions, combination, strict=True))


def search_name(
    study: str,
    point: Point,
    search: Search,
    space: Mapping[str, Domain],
    spec: Any,
    budget: ExampleBudget | None = None,
) -> str:
    """Return the name of a search in the storage, which ends in a digest.

    Another search space, budget, code of the rule or dataset gives another name.

    Args:
        study: name of the study.
        point: the point.
        search: the search.
        space: search space.
        spec: specification of the point's configuration, with the digests of code and data.
        budget: budget that replaces that of the configuration.
    """
    trial: dict[str, Any] = {
        "epochs": search.epochs,
        "seeds": search.seeds,
        "objectives": search.objectives,
    }
    if search.sampler != "grid" and not any(isinstance(domain, Span) for domain in space.values()):
        # A grid tries each of the same values once, so it must not continue such a search.
        trial["sampler"] = "any"
    if budget is not None:
        trial["examples"] = budget.trial
    return f"{study}/{point.key}@{digest([spec, dict(space), trial])}"


def search_digest(search: str | None) -> str:
    """Return the digest in the name of a search; "" without a search."""
    return "" if search is None else search.rpartition("@")[2]


def _open(name: str, search: Search, storage: BaseStorage) -> OptunaStudy:
    import optuna

    pruner: BasePruner = optuna.pruners.NopPruner()
    if search.pruning:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        pruner=pruner,
        directions=["minimize"] * len(search.objectives),
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        drawn = sum(len(trial.params) for trial in study.get_trials(deepcopy=False))
        study.sampler = _sampler(search.sampler, name, drawn)
    return study


def _sampler(sampler: str, search: str, drawn: int) -> BaseSampler:
    """Return a sampler whose seed differs between the beginning and a continuation of a search.

    Args:
        sampler: one of ``definition.SAMPLERS``.
        search: name of the search.
        drawn: number of values that its trials have. The number of trials would not suffice: a
            trial whose process died before its values were drawn counts already, and a later
            process that finds the same number of trials would draw the same values again.
    """
    from optuna import samplers

    seed = address(search, drawn) % 2**31
    if sampler == "tpe":
        return samplers.TPESampler(seed=seed)
    if sampler == "gp":
        return samplers.GPSampler(seed=seed)
    if sampler == "qmc":
        return samplers.QMCSampler(
            scramble=True,
            # The seed is the same for all searches, so that rules with the same space get the same
            # trials. The storage has the position in the sequence.
            seed=address("qmc") % 2**31,
            warn_independent_sampling=False,
        )
    if sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed)
