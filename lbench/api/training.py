"""``lbench.run``: train a rule on a dataset, or return the results of finished runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.api.progress import Command, Notifier, Progress
from lbench.api.run_result import RunResult
from lbench.errors import UsageError
from lbench.home import Home
from lbench.per_block import per_block_text
from lbench.registry import Registry, registry
from lbench.rundir import RunDir
from lbench.threads import requested
from lbench.training.reporter import TIME_OVER

if TYPE_CHECKING:
    from lbench.execute.driver import RunOutcome
    from lbench.execute.writer import Writer
    from lbench.training.job import Machine
    from lbench.training.reporter import Reporter
    from lbench.training.resolve import Request, Resolved


@dataclass(frozen=True)
class Conditions:
    """Settings of where and how runs are trained; none of them is part of a configuration.

    Args:
        home: the directory of runs and their database.
        seeds: the seeds, one run per seed.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads; None for ``OMP_NUM_THREADS``, else a number that fits the network.
        checkpoint_every: seconds between checkpoints; None for every 30 seconds, or more rarely
            where they would take more than a hundredth of the time.
        max_hours: hours after which the runs stop; None for no limit.
        probes: names of the probes of the runs.
        force: train finished runs again, each as a new attempt.
        store: record the runs in the database.
        progress: report progress and notes on standard error.
        loader_workers: processes that decode streamed images; None for one per core.
    """

    home: Home
    seeds: Sequence[int] = (0,)
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: float | None = None
    max_hours: float | None = None
    probes: Sequence[str] = ()
    force: bool = False
    store: bool = True
    progress: bool = True
    loader_workers: int | None = None


def run(
    rule: str,
    dataset: str,
    *,
    seeds: int | Iterable[int] = 1,
    network: str | None = None,
    net: Mapping[str, Any] | None = None,
    blocks: int | None = None,
    epochs: int | None = None,
    examples: int | None = None,
    labels: float = 1.0,
    protocol: str = "strict",
    augment: str | None = None,
    data: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    precision: str = "fp32",
    microbatch: int | None = None,
    encoder: str | Path | None = None,
    freeze_encoder: bool = False,
    device: str = "auto",
    threads: int | None = None,
    loader_workers: int | None = None,
    checkpoint_every: float | None = None,
    max_hours: float | None = None,
    probes: Sequence[str] = (),
    force: bool = False,
    store: bool = True,
    home: str | Path | None = None,
    plugin: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> RunResult:
    """Train a rule on a dataset and return the runs, as ``lbench run`` does.

    ::

        result = lbench.run("lfnn_l", "digits", seeds=3, leadership=0.5, lr=0.002)

    A run that has finished is not trained again; one that was interrupted continues from its
    checkpoint.

    Args:
        rule: the rule; see :func:`lbench.rules`.
        dataset: the dataset; see :func:`lbench.datasets`.
        seeds: the number of seeds, which start at 0; or the seeds themselves.
        network: the network, see ``lbench networks``; None for the dataset's own.
        net: options of the network.
        blocks: number of blocks that the network's layers are grouped into; None for its own.
        epochs: budget of training; None for the dataset's own.
        examples: budget in examples instead of epochs.
        labels: share of the training labels that is used, above 0 and at most 1.
        protocol: ``strict`` holds out a validation split; ``paper`` trains on everything.
        augment: augmentation such as ``"crop4,flip"``; ``"none"`` for no augmentation; None for
            the dataset's own.
        data: options of the dataset.
        data_dir: the directory of the dataset's files; None for ``LBENCH_DATA`` and the cache.
        precision: ``fp32`` or ``bf16``.
        microbatch: the largest number of examples that run at once, where this leaves the updates
            as they are; None for whole batches.
        encoder: a file of weights with which the network begins (a state dict of torchvision's
            model, or safetensors); the readout keeps its initial values.
        freeze_encoder: whether these layers keep the given weights, so that the rule trains those
            behind them alone.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads; None for ``OMP_NUM_THREADS``, else a number that fits the network.
        loader_workers: processes that decode streamed images; None for one per core.
        checkpoint_every: seconds between checkpoints; None for every 30 seconds, or more rarely
            where they would take more than a hundredth of the time.
        max_hours: hours after which the runs stop at a checkpoint; the same call continues them.
        probes: names of the probes of the runs.
        force: train finished runs again, each as a new attempt.
        store: record the runs in the database.
        home: the directory of runs and their database; None for ``LBENCH_HOME``, else
            ``./lbench-runs``.
        plugin: a file with rules, datasets, networks or probes that are not installed.
        progress: report progress and notes on standard error.
        options: options of the rule and parts of the recipe (``lr``, ``batch``, ``optimizer``, …)
            by their names. If a rule has an option with the name of a part of the recipe, the
            rule's option is set.

    Returns:
        The runs of all seeds. ``result.finished`` is true if every run has finished.

    Raises:
        UsageError: a name or an option is unknown, a value is out of range, or options contradict
            each other.
        DataError: the data is missing or damaged.
        LockedError: another process is training one of these runs.
    """
    known = with_plugin(plugin)
    check_names(known, rule, dataset, network, probes)

    from lbench.recipe import Recipe
    from lbench.training.resolve import Request

    rule_options = known.load("rules", rule).Config.model_fields
    recipe_names = {n for n in options if n in Recipe.model_fields and n not in rule_options}
    request = Request(
        rule=rule,
        dataset=dataset,
        config={name: value for name, value in options.items() if name not in recipe_names},
        network=network,
        network_options=dict(net or {}),
        blocks=blocks,
        recipe={name: options[name] for name in recipe_names},
        protocol=protocol,
        epochs=epochs,
        examples=examples,
        augmentation="" if augment == "none" else augment,
        precision=precision,
        microbatch=microbatch,
        data_dir=None if data_dir is None else Path(data_dir),
        data_options=dict(data or {}),
        labels=labels,
        encoder=None if encoder is None else Path(encoder),
        freeze_encoder=freeze_encoder,
    )
    conditions = Conditions(
        home=home_at(home),
        seeds=seeds_of(seeds),
        device=device,
        threads=threads,
        loader_workers=loader_workers,
        checkpoint_every=checkpoint_every,
        max_hours=max_hours,
        probes=tuple(probes),
        force=force,
        store=store,
        progress=progress,
    )
    return train(request, conditions, known)


def train(request: Request, conditions: Conditions, known: Registry) -> RunResult:
    """Train the runs of a request, record them, and return the result.

    Args:
        request: settings of the configuration.
        conditions: where and how the runs are trained.
        known: installed rules, networks, datasets and probes.

    Raises:
        UsageError: a name or an option is unknown, a value is out of range, or options contradict
            each other.
        DataError: the data is missing or damaged.
        LockedError: another process is training one of these runs.
    """
    from lbench.api.run_content import describe
    from lbench.training.batches import check_batches
    from lbench.training.resolve import refuse_idle, resolve

    notify = Notifier(conditions.progress)
    resolved = resolve(request, known)
    refuse_idle(resolved.idle)
    check_batches(resolved)
    for note in resolved.notes:
        notify(note, fg="yellow")
    machine = _machine(conditions)
    conditions.home.prepare()
    displays: dict[int, Progress] = {}
    with _writer(conditions, notify) as writer:
        outcomes = _train(resolved, conditions, machine, writer, notify, displays)
    for outcome in outcomes:
        _report_ending(outcome, displays.get(outcome.seed), notify)
    problem = None if writer is None else writer.error
    return RunResult(describe(resolved, outcomes), outcomes, problem)


def check_names(
    known: Registry, rule: str, dataset: str, network: str | None, probes: Iterable[str]
) -> None:
    """Check names before torch is imported, so that errors appear at once.

    Raises:
        UsageError: a name is unknown; the hint suggests the nearest one.
    """
    known.find("rules", rule)
    known.find("datasets", dataset)
    if network is not None:
        known.find("networks", network)
    for probe in probes:
        known.find("probes", probe)


def with_plugin(plugin: str | Path | None) -> Registry:
    """Return the registry, extended by the rules of a file.

    Raises:
        UsageError: the file does not exist.
        PluginError: the file is not a plugin.
    """
    known = registry()
    if plugin is not None:
        path = Path(plugin)
        if not path.is_file():
            raise UsageError(f"There is no plugin file {path}.")
        known.add_file(path)
    return known


def home_at(home: str | Path | None) -> Home:
    """Return the home at a directory; None for ``LBENCH_HOME``, else ``./lbench-runs``."""
    return Home.at(None if home is None else Path(home))


def seeds_of(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Return the seeds: 0 to ``seeds`` - 1 for a number, else those given.

    Raises:
        UsageError: there is no seed, or one is negative or not an integer.
    """
    values = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not values or any(not isinstance(seed, int) or seed < 0 for seed in values):
        raise UsageError(
            f"seeds must be a number of seeds, or a list of integers from 0 on, but is {seeds!r}.",
            "For example seeds=3, or seeds=[0, 1, 2]",
        )
    return values


class _Silent(Progress):
    """A reporter that writes nothing."""

    def _say(self, text: str) -> None:
        return


def _writer(conditions: Conditions, notify: Notifier) -> contextlib.AbstractContextManager[Any]:
    if not conditions.store:
        return contextlib.nullcontext()
    return database_writer(conditions.home, partial(notify, fg="yellow"))


def database_writer(home: Home, warn: Callable[[str], None]) -> Writer:
    """Return the writer of a home's database.

    Args:
        home: the home.
        warn: called once with a sentence if the database cannot be reached.
    """
    from lbench.execute.writer import Writer

    return Writer(home, warn)


def _machine(conditions: Conditions) -> Machine:
    from lbench.training.device import pick
    from lbench.training.job import Machine

    threads = conditions.threads or requested()
    return Machine(
        pick(conditions.device),
        threads,
        conditions.checkpoint_every,
        loader_workers=conditions.loader_workers,
    )


def _train(
    resolved: Resolved,
    conditions: Conditions,
    machine: Machine,
    writer: Writer | None,
    notify: Notifier,
    displays: dict[int, Progress],
) -> list[RunOutcome]:
    """Train the runs; ``displays`` gets the display of each seed that is trained."""
    from lbench.execute.driver import ended, run_cell

    hours = conditions.max_hours
    stop_at = None if hours is None else time.monotonic() + 3600 * hours
    cell = resolved.cell
    if writer is not None:
        for older in writer.older_code(cell.spec()):
            notify(
                f"The code of rule {cell.rule} has changed: {older} was trained with older code "
                "and is not used."
            )
    # The title of a copy that differs from the published data says how.
    remark = " (canonical)" if cell.data["variant"] == "canonical" else ""
    notify(f"{cell.id} on {cell.data['title']}{remark}")
    if resolved.per_block:
        text = per_block_text(resolved.per_block)
        notify(f"{text[:1].upper()}{text[1:]}.")
    for note in resolved.dataset.notes:
        notify(note)

    def reporter(seed: int) -> Reporter:
        later = 0
        if not displays:  # only the first display announces how long the command takes
            behind = conditions.seeds[conditions.seeds.index(seed) + 1 :]
            later = sum(
                conditions.force or not ended(conditions.home, cell, other, conditions.probes)
                for other in behind
            )
        command = Command(cell.budget.epochs, later, stop_at, announce=not displays)
        display = (Progress if conditions.progress else _Silent)(f"seed {seed}", command=command)
        displays[seed] = display
        return display

    return run_cell(
        resolved,
        conditions.seeds,
        conditions.home,
        machine,
        reporter,
        writer,
        force=conditions.force,
        probes=conditions.probes,
    )


def _report_ending(outcome: RunOutcome, display: Progress | None, notify: Notifier) -> None:
    """Report why a run has not finished."""
    result = outcome.result
    if outcome.stopped:
        why = " because the time of --max-hours is over" if outcome.stopped == TIME_OVER else ""
        at = ""
        if result["status"] == "killed" and display is not None and display.steps is not None:
            at = f" at step {result['steps']:,} of {display.steps:,}"
        notify(f"Stopped{at}{why}. The same command continues from there.")
    if result["status"] in ("killed", "finished"):
        return
    notify(f"Seed {outcome.seed} {result['status']}: {result['reason']}", fg="red")
    traceback = RunDir(outcome.run_dir).traceback
    notify(f"Traceback: {traceback}" if traceback.exists() else f"Run directory: {outcome.run_dir}")
