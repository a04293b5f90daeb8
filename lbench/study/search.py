"""One search: what Optuna is asked for, and what it is told."""

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
from lbench.study.defaults import SETTINGS, VALUES, best_of, has_defaults, inside
from lbench.study.definition import Domain, Point, Search, Span, digest
from lbench.study.space import distribution, is_integer, trial_count
from lbench.study.study_plan import ExampleBudget

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
"""Epochs of a trial before it is pruned."""
REASON = "lbench.reason"


@dataclass
class RunningTrial:
    """A trial that is being trained.

    Args:
        trial: Optuna's.
        params: the suggested settings.
        waiting: seeds that are still to be handed out.
        running: seeds that are being trained.
        results: what the ended seeds gave, by objective.
        outside: whether the settings lie outside of what is searched, as defaults may.
        defaults: whether they are the defaults, which are not pruned.
    """

    trial: OptunaTrial
    params: Mapping[str, Any]
    waiting: deque[int]
    running: set[int] = field(default_factory=set)
    results: list[Mapping[str, float]] = field(default_factory=list)
    outside: bool = False
    defaults: bool = False


class OptunaSearch:
    """A search at a point: hands out trials and tells Optuna what came of them.

    Trials that were left running by a process that is gone are handed out again under their own
    numbers.

    Args:
        name: in the storage, see :func:`search_name`.
        point: where.
        search: how.
        space: what is suggested, by setting.
        storage: Optuna's.
        registry: knows the rules.
        defaults: settings that trial 0 of a new search has, see ``study.defaults``; a grid has
            them where they are one of its combinations. None for no such trial.
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
            each: distribution(domain, integer=is_integer(point.rule, each, registry))
            for each, domain in space.items()
        }
        self.wanted = trial_count(search, space)
        self.study = _open(name, search, storage)
        known = self._trials()
        # A search that began without the defaults goes on without them.
        first = defaults if not known or has_defaults(known[0]) else None
        if search.sampler == "grid":
            self._enqueue_grid(len(known), first)
        elif not known and first is not None:
            params = dict(first) if self._can_suggest(first) else {}
            self.study.enqueue_trial(params, user_attrs={SETTINGS: dict(first)})
        self._asked: dict[int, RunningTrial] = {}
        self._left = deque(self._left_running())

    @property
    def ended(self) -> int:
        """How many trials are complete, pruned or failed."""
        return sum(trial.state.is_finished() for trial in self._trials())

    @property
    def done(self) -> bool:
        """Whether all trials have ended."""
        return self.ended >= self.wanted

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial of lowest first objective; the earliest of equals."""
        return best_of(self._trials())

    @property
    def chose_defaults(self) -> bool:
        """Whether the best trial is that of the defaults."""
        best = self.best
        return best is not None and has_defaults(best)

    def next(self) -> tuple[int, int, Mapping[str, Any]] | None:
        """Number, seed and settings of what is to be trained next; None for nothing now."""
        for number, asked in self._asked.items():
            # The first seed decides whether a trial is pruned: the others wait for it.
            if asked.waiting and not asked.running:
                return self._hand_out(number, asked)
        if self.ended + len(self._asked) >= self.wanted:
            return None
        return self._begin(self._left.popleft() if self._left else self.study.ask())

    def epoch(self, number: int, seed: int, epoch: int, error: float | None) -> str | None:
        """Takes a validation error; why the trial is to be pruned, None for going on."""
        if seed != 0 or error is None or not self._prunes:
            return None
        asked = self._asked[number]
        trial = asked.trial
        known = trial.storage.get_trial(trial._trial_id).intermediate_values
        if epoch not in known:
            trial.report(error, step=epoch)
        # What a run that goes on tells again was decided the first time.
        told = epoch < max(known, default=epoch)
        if told or asked.defaults or not trial.should_prune():
            return None
        others = [
            each.intermediate_values for each in self._trials() if each.state.name == "COMPLETE"
        ]
        median = statistics.median(values[epoch] for values in others if epoch in values)
        return f"pruned at epoch {epoch}: {error:.2f} % against a median of {median:.2f} %"

    def ended_seed(
        self, number: int, seed: int, status: str, reason: str | None, values: Mapping[str, Any]
    ) -> bool:
        """Takes how a run of a trial ended; whether the trial has ended with it.

        Args:
            status: ``finished``, ``pruned``, ``diverged``, ``failed``; ``killed`` where the run
                is to go on another time: the trial then keeps its number and stays running.
            values: by objective, of a finished run.
        """
        from optuna.trial import TrialState

        asked = self._asked[number]
        asked.running.discard(seed)
        if status == "killed":
            del self._asked[number]
            return False
        if status == "finished":
            missing = [name for name in self.search.objectives if values.get(name) is None]
            if not missing:
                asked.results.append(values)
                if asked.waiting or asked.running:
                    return False
                means = [
                    statistics.fmean(result[name] for result in asked.results)
                    for name in self.search.objectives
                ]
                self._tell(number, TrialState.COMPLETE, None, means)
                return True
            status, reason = "failed", f"no value of {', '.join(missing)}"
        # What diverges is worse than anything: told so, a sampler leaves that region. Of a failed
        # one nothing is known. (With several objectives Optuna knows no pruned trials.)
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
        asked = RunningTrial(trial, params, seeds, outside=outside, defaults=defaults is not None)
        self._asked[trial.number] = asked
        return self._hand_out(trial.number, asked)

    def _hand_out(self, number: int, asked: RunningTrial) -> tuple[int, int, Mapping[str, Any]]:
        seed = asked.waiting.popleft()
        asked.running.add(seed)
        return number, seed, asked.params

    def _tell(
        self, number: int, state: Any, reason: str | None, values: list[float] | None = None
    ) -> None:
        from optuna.trial import TrialState

        asked = self._asked.pop(number)
        trial = asked.trial
        if reason is not None:
            trial.set_user_attr(REASON, reason)
        if asked.outside:
            if values is not None:
                trial.set_user_attr(VALUES, values)
            state, values = TrialState.FAIL, None
        self.study.tell(trial, values, state=state)

    def _left_running(self) -> list[OptunaTrial]:
        from optuna.trial import Trial, TrialState

        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [Trial(self.study, trial._trial_id) for trial in running]

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _can_suggest(self, settings: Mapping[str, Any]) -> bool:
        # Searches of one space get the same quasi-random trials whatever their defaults are.
        return self.search.sampler != "qmc" and inside(settings, self._distributions)

    def _enqueue_grid(self, known: int, defaults: Mapping[str, Any] | None) -> None:
        """Enqueues what a grid has not yet, the defaults in front where they are part of it."""
        grid = list(self._combinations())
        if defaults in grid:
            grid = [dict(defaults), *(each for each in grid if each != defaults)]
        for number, params in enumerate(grid[known:], start=known):
            first = number == 0 and params == defaults
            self.study.enqueue_trial(params, user_attrs={SETTINGS: params} if first else None)

    def _combinations(self) -> Iterator[dict[str, Any]]:
        """All of a space that has values alone."""
        choices = [getattr(each, "choices", ()) for each in self._distributions.values()]
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
    """What a search is called in the storage: another space, code or data is another search.

    Args:
        spec: of the point's cell, its rule's code and its data's digest among it.
        budget: in the place of the cell's own.
    """
    trial: dict[str, Any] = {
        "epochs": search.epochs,
        "seeds": search.seeds,
        "objectives": search.objectives,
    }
    if search.sampler != "grid" and not any(isinstance(each, Span) for each in space.values()):
        # A grid of the same values has each of them once: it is no continuation.
        trial["sampler"] = "any"
    if budget is not None:
        trial["examples"] = budget.trial
    return f"{study}/{point.key}@{digest([spec, dict(space), trial])}"


def search_digest(search: str | None) -> str:
    """Tells a point's searches apart: the digest in a search's name; "" without one."""
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
    """Return a sampler that draws other numbers when a search goes on than when it began.

    Args:
        search: what it is called.
        drawn: how many values its trials have. The number of trials would not do: a trial whose
            process died before its values were drawn is there already, and a later process that
            finds as many trials would draw the same values for the next one.
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
            # One sequence, of which the storage knows how far it is; the same in every search, so
            # that rules with one space are given the same trials.
            seed=address("qmc") % 2**31,
            warn_independent_sampling=False,
        )
    if sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed)
