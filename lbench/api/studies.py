"""``lbench.study`` and ``lbench.tune``: run a study or a search, and write its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.api.progress import Notifier
from lbench.api.study_output import say_plan
from lbench.api.study_progress import SilentProgress, StudyProgress
from lbench.api.study_report import write_report
from lbench.api.study_result import StudyResult
from lbench.api.training import database_writer, home_at, with_plugin
from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import Registry
from lbench.threads import requested

if TYPE_CHECKING:
    from lbench.studies.definition import Study
    from lbench.studies.estimate import StudyCost
    from lbench.studies.study_plan import StudyPlan


@dataclass(frozen=True)
class Workers:
    """The worker processes of a study; nothing here changes a result.

    Args:
        count: number of worker processes; None for one per GPU or CPU core.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads per worker process; None for ``OMP_NUM_THREADS``, else a number that
            fits the network.
        timeout: seconds after which the study stops; the same call continues it.
        fresh: start a new process for each run.
        data_dir: the directory of the datasets' files.
        loader_workers: processes per run that decode streamed images; None for one per core of
            its worker process.
        skip_bad: leave out images that cannot be decoded.
    """

    count: int | None = None
    device: str = "auto"
    threads: int | None = None
    timeout: float | None = None
    fresh: bool = False
    data_dir: Path | None = None
    loader_workers: int | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class Planned:
    """A study that is ready to run.

    Args:
        plan: its points, with everything checked.
        workers: settings of the worker processes.
        devices: device of each worker process.
        cost: what it is estimated to cost.
    """

    plan: StudyPlan
    workers: Workers
    devices: Sequence[str]
    cost: StudyCost


def study(
    name: str | Path,
    *,
    trials: int | None = None,
    datasets: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    network: str | None = None,
    net: Mapping[str, Any] | None = None,
    sampler: str | None = None,
    objectives: Sequence[str] | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    timeout: float | None = None,
    data_dir: str | Path | None = None,
    loader_workers: int | None = None,
    skip_bad: bool = False,
    home: str | Path | None = None,
    plugin: str | Path | None = None,
    progress: bool = True,
) -> StudyResult:
    """Run a study in worker processes and write its report, as ``lbench study`` does.

    ::

        result = lbench.study("leadership", trials=20, datasets=["digits"], workers=2)
        print(result.answer)

    Finished runs are not trained again; a study that was stopped continues.

    Args:
        name: an installed study, or the path of a TOML file (docs/studies.md).
        trials: trials per search; None for the study's own number.
        datasets: datasets in place of the study's own.
        rules: rules in place of the study's own.
        network: network in place of the study's own; an arm that names its own network keeps it.
        net: options of the network, by name.
        sampler: ``tpe``, ``gp``, ``random``, ``qmc``, ``cmaes`` or ``grid``.
        objectives: what searches minimise.
        seeds: final runs per configuration.
        workers: number of worker processes; None for one per GPU or CPU core.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads per worker process.
        timeout: seconds after which the study stops; the same call continues it.
        data_dir: the directory of the datasets' files.
        loader_workers: processes per run that decode streamed images; None for one per core of
            its worker process.
        skip_bad: leave out images that cannot be decoded.
        home: the directory of runs; None for ``LBENCH_HOME``, else ``./lbench-runs``.
        plugin: a file with rules that are not installed.
        progress: report the plan and the progress on standard error.

    Raises:
        UsageError: a name is unknown, or settings contradict each other.
        DataError: data is missing or damaged.
    """
    from lbench.report.study import check, unrecorded
    from lbench.studies.lookup import find_study

    known, study_home = with_plugin(plugin), home_at(home)
    study = find_study(str(name), known, study_home)
    check(study)
    notify = Notifier(progress)
    for sentence in unrecorded(study):
        partial(notify, fg="yellow")(sentence)
    study = changed(study, trials, sampler, objectives, seeds)
    study = on_network(study, known, network, net or {})
    processes = Workers(
        workers, device, threads, timeout, False, _path(data_dir), loader_workers, skip_bad
    )
    planned = plan_study(study, study_home, known, processes, datasets, rules, notify=notify)
    call = _call(
        "study", str(name), trials=trials, datasets=datasets, rules=rules, network=network,
        net=net, seeds=seeds,
    )  # fmt: skip
    return _run(planned, study_home, known, str(name), call, progress)


def tune(
    rule: str,
    dataset: str,
    *,
    network: str | None = None,
    net: Mapping[str, Any] | None = None,
    trials: int = 30,
    epochs: int | None = None,
    only: Sequence[str] | None = None,
    sampler: str | None = None,
    objectives: Sequence[str] | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    timeout: float | None = None,
    data_dir: str | Path | None = None,
    loader_workers: int | None = None,
    skip_bad: bool = False,
    home: str | Path | None = None,
    plugin: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> StudyResult:
    """Search a rule's options, learning rate, decay and optimizer, as ``lbench tune`` does.

    ::

        result = lbench.tune("lfnn_l", "digits", trials=20, only=["leadership", "lr"])
        print(result.best[0]["params"])

    Args:
        rule: the rule; see :func:`lbench.rules`.
        dataset: the dataset; see :func:`lbench.datasets`.
        network: the network; None for the dataset's own.
        net: options of the network, by name.
        trials: number of trials.
        epochs: budget of trials and final runs; None for the dataset's own.
        only: options that are searched; None for all that declare a range.
        sampler: ``tpe``, ``gp``, ``random``, ``qmc`` or ``cmaes``.
        objectives: what the search minimises.
        seeds: number of final runs of the configuration that the search chose.
        workers: number of worker processes; None for one per GPU or CPU core.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads per worker process.
        timeout: seconds after which the search stops; the same call continues it.
        data_dir: the directory of the dataset's files.
        loader_workers: processes per run that decode streamed images; None for one per core of
            its worker process.
        skip_bad: leave out images that cannot be decoded.
        home: the directory of runs; None for ``LBENCH_HOME``, else ``./lbench-runs``.
        plugin: a file with rules that are not installed.
        progress: report the plan and the progress on standard error.
        settings: values of options that are not searched, by their names.

    Raises:
        UsageError: a name is unknown, or settings contradict each other.
        DataError: the data is missing or damaged.
    """
    known, study_home = with_plugin(plugin), home_at(home)
    fixed = {**settings, **{f"net.{name}": value for name, value in (net or {}).items()}}
    search = search_study(known, rule, dataset, network, epochs, only, fixed, sampler)
    search = changed(search, trials, sampler, objectives, seeds)
    processes = Workers(
        workers, device, threads, timeout, False, _path(data_dir), loader_workers, skip_bad
    )
    notify = Notifier(progress)
    planned = plan_study(search, study_home, known, processes, [dataset], notify=notify)
    call = _call(
        "tune", rule, dataset, network=network, net=net, trials=trials, epochs=epochs, **settings
    )
    return _run(planned, study_home, known, search.name, call, progress)


def search_study(
    known: Registry,
    rule: str,
    dataset: str,
    network: str | None,
    epochs: int | None,
    only: Sequence[str] | None,
    settings: Mapping[str, Any],
    sampler: str | None,
) -> Study:
    """Return the study of one search.

    Args:
        known: installed rules and datasets.
        rule: name of the rule.
        dataset: name of the dataset.
        network: name of the network; None for the dataset's own.
        epochs: budget of trials and final runs; None for the dataset's own.
        only: options that are searched; None for all that declare a range.
        settings: values of options that are not searched.
        sampler: sampler of the search; None for the default.

    Raises:
        UsageError: a name is unknown, or settings contradict each other.
    """
    from lbench.studies.tuning import tuning_study

    known.find("rules", rule)
    known.find("datasets", dataset)
    if sampler == "grid":
        raise UsageError(
            "The sampler grid needs a list of values for every setting, which ranges do not have.",
            "Write them in a study's file (docs/studies.md), or leave --sampler out.",
        )
    fixed = dict(settings)
    if epochs is not None:
        if "epochs" in fixed:
            raise UsageError("--epochs and --set epochs are the same; give one of them.")
        fixed["epochs"] = epochs
    return tuning_study(rule, dataset, network, fixed, None if only is None else tuple(only))


def changed(
    study: Study,
    trials: int | None = None,
    sampler: str | None = None,
    objectives: Sequence[str] | None = None,
    seeds: int | None = None,
) -> Study:
    """Return a study with settings in place of those of its file; None keeps the file's.

    Raises:
        UsageError: a sampler or objective is unknown, or a grid is given an option of searches.
    """
    from lbench.errors import unknown
    from lbench.studies.definition import OBJECTIVES, SAMPLERS
    from lbench.studies.study_file import unknown_objective, wrong_objectives

    options = {"trials": trials, "sampler": sampler, "objectives": objectives and tuple(objectives)}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if sampler is not None and sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS, listing=f"Samplers: {', '.join(SAMPLERS)}.")
    for name in objectives or ():
        if name not in OBJECTIVES:
            raise UsageError(*unknown_objective(name))
    if objectives is not None and (problem := wrong_objectives(objectives)):
        raise UsageError(problem, "For example: --objectives val_error,step_memory")
    if given and study.search is None:
        raise UsageError(
            f"Study {study.name} is a grid: it has no search for --{next(iter(given))}.",
            "Leave it out; --seeds sets the number of runs per configuration.",
        )
    search = study.search and replace(study.search, **given)
    if trials is not None and search is not None and search.sampler == "grid":
        raise UsageError(
            "The sampler grid tries every combination once: it takes no --trials.",
            "Leave it out, or give another sampler, for example: --sampler random",
        )
    return replace(study, search=search, seeds=seeds or study.seeds)


def on_network(
    study: Study, known: Registry, network: str | None, options: Mapping[str, Any]
) -> Study:
    """Return a study with another network in place of its own, or with options of its networks.

    Arms that name a network of their own keep it, with its options.

    Args:
        study: the study.
        known: installed networks.
        network: name of the network; None for those of the study.
        options: options of the network.

    Raises:
        UsageError: there is no such network, or every arm has a network of its own.
    """
    if network is None and not options:
        return study
    flag = "--net" if network is None else "--network"
    if all(arm.network for arm in study.arms):
        own = ", ".join(dict.fromkeys(str(arm.network) for arm in study.arms))
        raise UsageError(
            f"{flag} cannot act: every arm of study {study.name} has a network of its own ({own}).",
            "Change the arms in a copy of its file.",
        )
    study = replace(study, network_options=options)
    if network is None:
        return study
    known.find("networks", network)
    return replace(study, networks=(network,), networks_by_dataset={})


def plan_study(
    study: Study,
    home: Home,
    known: Registry,
    workers: Workers,
    datasets: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    *,
    check_home: bool = True,
    notify: Callable[[str], None],
) -> Planned:
    """Check everything that a study needs, time its steps, and estimate its duration.

    Args:
        study: the study.
        home: the home for its runs.
        known: installed rules, networks, datasets and probes.
        workers: settings of the worker processes.
        datasets: datasets in place of the study's own.
        rules: rules in place of the study's own.
        check_home: raise an error if the home is not writable.
        notify: called with a sentence before each slow measurement.

    Raises:
        UsageError: a name is unknown, settings contradict each other, or the home is not writable.
        DataError: data is missing or damaged.
    """
    import torch

    from lbench.studies.driver import cores_per_worker, worker_devices
    from lbench.studies.equal_operations import with_budgets
    from lbench.studies.estimate import study_cost
    from lbench.studies.plan import plan
    from lbench.studies.step_costs import step_costs
    from lbench.training.device import pick

    study_plan = plan(
        study,
        known,
        datasets=None if datasets is None else list(datasets),
        rules=None if rules is None else list(rules),
        data_dir=workers.data_dir,
        skip_bad=workers.skip_bad,
        gpu=pick(workers.device).type == "cuda",
    )
    if check_home:
        home.check()
    devices = worker_devices(workers.count, workers.device)
    threads = workers.threads or requested()
    costs = step_costs(
        study_plan, torch.device(devices[0]), threads, notify, cores_per_worker(len(devices))
    )
    study_plan = with_budgets(study_plan, {key: cost.flops for key, cost in costs.items()})
    cost = study_cost(study_plan, costs, len(devices))
    return Planned(study_plan, replace(workers, threads=threads), devices, cost)


def run_study(
    planned: Planned, home: Home, known: Registry, name: str, command: str, *, progress: bool = True
) -> StudyResult:
    """Run the remaining runs of a study, and write its report.

    Args:
        planned: the study.
        home: the home for its runs.
        known: installed rules, networks, datasets and probes.
        name: the study's name or file, as the user gave it.
        command: the command or call that the report names as its origin.
        progress: report progress on standard error.
    """
    from lbench.studies.collection import collect_results
    from lbench.studies.driver import drive

    study = planned.plan.study
    notify = Notifier(progress)
    home.prepare()
    display = StudyProgress(planned.cost.seconds) if progress else SilentProgress()
    with database_writer(home, partial(notify, fg="yellow")) as writer, display:
        ending = drive(
            planned.plan,
            home,
            known,
            writer,
            display,
            command=command,
            devices=planned.devices,
            threads=planned.workers.threads,
            data_dir=planned.workers.data_dir,
            plugin_files=known.files,
            timeout=planned.workers.timeout,
            fresh=planned.workers.fresh,
            loader_workers=planned.workers.loader_workers,
        )
    if ending.stopped:
        notify(f"Stopped ({ending.stopped}). The same command continues from there.")
    results = None if writer.error is not None else collect_results(study, home)
    report = None if results is None or not results.ended else write_report(results, home, name)
    return StudyResult(study, ending, results, report, writer.error)


def _run(
    planned: Planned, home: Home, known: Registry, name: str, command: str, progress: bool
) -> StudyResult:
    if progress:
        say_plan(planned.plan, list(planned.devices), planned.cost)
    return run_study(planned, home, known, name, command, progress=progress)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _call(function: str, *words: str, **settings: Any) -> str:
    """Return a call as the report shows it."""
    given = [repr(word) for word in words]
    given += [f"{name}={value!r}" for name, value in settings.items() if value is not None]
    return f"lbench.{function}({', '.join(given)})"
