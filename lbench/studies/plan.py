"""Expansion of a study to its points, with all checks that are possible before training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lbench.data.source import Source
from lbench.errors import DataError, UsageError
from lbench.networks.spec import network_spec
from lbench.recipe import Recipe, idle
from lbench.registry import Registry
from lbench.studies.configurations import configurations
from lbench.studies.definition import Arm, Choices, Domain, Point, Span, Study
from lbench.studies.equal_operations import check_equal_operations
from lbench.studies.idle_options import refuse_idle_options, without_idle_options
from lbench.studies.probes import check_probes
from lbench.studies.settings import ENCODER, EQUAL, TASK, check_settings
from lbench.studies.space import check_space
from lbench.studies.study_plan import StudyPlan
from lbench.training.resolve import Resolved, refuse_idle

SKIP_BAD = "data.skip_bad"
"""Setting that leaves out images that cannot be decoded; other datasets ignore it."""
SMALL = 64 * 2**20
"""Bytes of training images up to which a CPU takes a dataset that the user did not name."""


def plan(
    study: Study,
    registry: Registry,
    *,
    datasets: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    data_dir: Path | None = None,
    skip_bad: bool = False,
    gpu: bool = False,
) -> StudyPlan:
    """Return the plan of a study: its points with their configurations and search spaces.

    Args:
        study: the study.
        registry: installed rules, networks, datasets and probes.
        datasets: names that replace those of the study; the data of each must be available.
        rules: names of the rules that are run; None for all of the study.
        data_dir: data directory that is searched first.
        skip_bad: whether images that cannot be decoded are left out, of datasets of image files.
        gpu: whether large datasets are taken although the user did not name them.

    Raises:
        UsageError: a name is unknown, a value is out of range, or parts do not fit each other.
        DataError: a dataset that the user named is missing, or all of the study's are.
    """
    whole, study = (_with_rules(study, selected, registry) for selected in (None, rules))
    # Settings, axes and searches may have options that only rules have which are not selected.
    _check_names(replace(study, arms=(*whole.arms, *study.arms)), registry)
    names = dict.fromkeys(datasets or study.datasets)
    if skip_bad:
        study = _skipping(study, names, registry)
    sources = {name: _source(study, name, registry) for name in names}
    absent = _all_absent(sources, data_dir, named=bool(datasets), large=gpu)
    available = [name for name in names if name not in absent]
    if not available:
        raise DataError(
            f"None of the datasets of study {study.name} is available: "
            + "; ".join(f"{name}: {reason}" for name, reason in absent.items()),
            "Name one with --datasets, as in: --datasets digits",
        )
    points = list(_points(study, available, registry))
    keys = [point.key for point in points]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(
            f"Study {study.name} has two points called {twice}.",
            "Give the arms of one rule different names: name = …",
        )
    configured = configurations(study, points, registry, data_dir)
    points, resolved, spaces = configured.points, configured.resolved, configured.spaces
    untrainable = configured.untrainable
    _refuse_idle(points, resolved, spaces)
    _check_searched(study, points, spaces)
    refuse_idle_options(points, resolved, spaces)
    planned = [*points, *(failed.point for failed in untrainable)]
    notes = list(dict.fromkeys(point.fallback for point in planned if point.fallback))
    if study.search:
        spaces, left_out = without_idle_options(points, resolved, spaces, study.search)
        notes += left_out
    result = StudyPlan(
        study, points, spaces, resolved, absent, untrainable=untrainable, notes=notes
    )
    check_equal_operations(result)
    check_probes(result, registry)
    return result


def _refuse_idle(
    points: Sequence[Point],
    resolved: Mapping[str, Resolved],
    spaces: Mapping[str, Mapping[str, Domain]],
) -> None:
    """Refuse settings without effect.

    A value of an axis must have an effect at each of its points. Any other setting must have one
    at some point: a momentum may be set for all points, of which some have the optimizer sgd.

    Raises:
        UsageError: a setting has no effect. The message has the point, the reason and a remedy.
    """
    never = {p.key: _never_acts(resolved[p.key], spaces.get(p.key, {})) for p in points}
    acting = {name for p in points for name in p.settings if name not in never[p.key]}
    for point in points:
        reasons = never[point.key].items()
        refused = {n: why for n, why in reasons if n in point.values or n not in acting}
        try:
            refuse_idle(refused)
        except UsageError as error:
            raise UsageError(f"At {point.key}: {error.message}", error.hint) from None


def _never_acts(resolved: Resolved, space: Mapping[str, Domain]) -> Mapping[str, tuple[str, str]]:
    """Return the given settings that have no effect for any choice of the search, with reasons."""
    recipes = [resolved.cell.recipe]
    for name in ("optimizer", "schedule"):
        if not isinstance(choices := space.get(name, ()), Span) and choices:
            recipes = [r.model_copy(update={name: choice}) for r in recipes for choice in choices]
    idle_names = [idle(recipe) for recipe in recipes]
    return {n: why for n, why in resolved.idle.items() if all(n in names for names in idle_names)}


def _check_searched(
    study: Study, points: Sequence[Point], spaces: Mapping[str, Mapping[str, Domain]]
) -> None:
    """Refuse a search of an option that the study sets at every point whose rule has it.

    Raises:
        UsageError: there is such an option.
    """
    if study.search is None:
        return
    searched = {name for space in spaces.values() for name in space}
    for name in [*study.search.space, *(study.search.only or ())]:
        if name not in searched and any(name in point.settings for point in points):
            raise UsageError(
                f"{name} cannot be searched: it is set at every point that has it.",
                "Leave it out of the search, or do not set it.",
            )


def _with_rules(study: Study, rules: Sequence[str] | None, registry: Registry) -> Study:
    """Return the study with the arms of these rules; a rule without an arm gets one."""
    arms: list[Arm] = []
    for arm in study.arms:
        everything = sorted(registry.rules) if arm.rule == "*" else [arm.rule]
        arms += [replace(arm, rule=rule) for rule in everything]
    study = replace(study, arms=tuple(arms))
    if not rules:
        return study
    arms = []
    for rule in dict.fromkeys(rules):
        registry.find("rules", rule)
        own = [arm for arm in study.arms if arm.rule == rule]
        # A new arm has the settings and axes of the first one, as far as the rule has them.
        arms += own or [replace(study.arms[0], rule=rule, name="")]
    return replace(study, arms=tuple(arms))


def _check_names(study: Study, registry: Registry) -> None:
    arms = study.arms
    for arm in arms:
        registry.find("rules", arm.rule)
        if arm.network:
            registry.find("networks", arm.network)
    for name in study.networks_by_dataset:
        registry.find("datasets", name)
    for name in itertools.chain(study.networks, *study.networks_by_dataset.values()):
        registry.find("networks", name)
    for name in study.probes:
        registry.find("probes", name)
    rules = tuple(dict.fromkeys(arm.rule for arm in arms))
    for name in dict.fromkeys(name for arm in arms for name in [*arm.settings, *arm.axes]):
        if not any(_has(rule, name, registry) for rule in rules):
            check_settings(rules[0], (name,), registry)
    _check_fallback(study, rules, registry)
    if study.search:
        check_space(study.search, rules, registry)


def _check_fallback(study: Study, rules: Sequence[str], registry: Registry) -> None:
    """Check that the fallback has options of rules alone.

    Raises:
        UsageError: it has another setting, or one that does not exist.
    """
    for name in study.fallback:
        if any(name in registry.load("rules", rule).Config.model_fields for rule in rules):
            continue
        check_settings(rules[0], (name,), registry)
        raise UsageError(
            f"{name} cannot be in [fallback]: it takes options of rules alone, because all rules "
            "of a comparison have the same network, data, recipe and budget.",
            "Write it in [set]; networks_by_dataset gives a dataset other networks.",
        )


def _has(rule: str, name: str, registry: Registry) -> bool:
    options = registry.load("rules", rule).Config.model_fields
    common = (*Recipe.model_fields, *TASK, EQUAL)
    return name in options or name in common or name.startswith(("net.", "data."))


def _skipping(study: Study, datasets: Iterable[str], registry: Registry) -> Study:
    """Return the study with arms that leave out images that cannot be decoded.

    Raises:
        UsageError: no dataset decodes image files.
    """
    if not any(_has_option(name, SKIP_BAD, registry) for name in datasets):
        names = ", ".join(datasets)
        raise UsageError(
            f"--skip-bad cannot act: no images of {names} are decoded from files.", "Leave it out."
        )
    settings = {SKIP_BAD: True}
    arms = tuple(replace(arm, settings={**arm.settings, **settings}) for arm in study.arms)
    return replace(study, arms=arms)


def _has_option(dataset: str, setting: str, registry: Registry) -> bool:
    """Return whether a dataset has the option of a setting such as ``data.size``."""
    source: type[Source] = registry.load("datasets", dataset)
    return setting.removeprefix("data.") in source.Config.model_fields


def _source(study: Study, name: str, registry: Registry) -> Source:
    """Return the source of a dataset, which skips damaged images if an arm does.

    Raises:
        UsageError: there is no such dataset.
    """
    skips = any(arm.settings.get(SKIP_BAD) for arm in study.arms)
    source: type[Source] = registry.load("datasets", name)
    return source(skip_bad=True) if skips and _has_option(name, SKIP_BAD, registry) else source()


def _all_absent(
    sources: Mapping[str, Source], data_dir: Path | None, *, named: bool, large: bool
) -> dict[str, str]:
    """Return the datasets that are left out, with reasons; the arguments are those of `_absent`."""
    reasons = {n: _absent(n, s, data_dir, named=named, large=large) for n, s in sources.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _absent(
    name: str, source: Source, data_dir: Path | None, *, named: bool, large: bool
) -> str | None:
    """Return why a dataset is left out; None when it is taken.

    Args:
        name: name of the dataset.
        source: the dataset.
        data_dir: data directory that is searched first.
        named: whether the user named it: it may then be downloaded, and is never left out.
        large: whether a large dataset is taken although the user did not name it.

    Raises:
        DataError: the user named it, and its data is missing.
    """
    try:
        data = source.load(data_dir, download=named)
    except DataError as error:
        if named:
            raise
        return error.message.partition(" Looked in")[0].rstrip(".")
    if not named and not large and data.train.nbytes > SMALL:
        return f"large for a CPU; name it to use it: --datasets {name}"
    return None


def _points(study: Study, datasets: Sequence[str], registry: Registry) -> Iterator[Point]:
    skipping = [name for name in datasets if _has_option(name, SKIP_BAD, registry)]
    for dataset in datasets:
        own = registry.find("datasets", dataset).network
        networks = study.networks_by_dataset.get(dataset) or study.networks or (own,)
        for index, arm in enumerate(study.arms):
            # Axes and settings that the rule does not have are left out.
            axes = {n: v for n, v in arm.axes.items() if _has(arm.rule, n, registry)}
            fixed = {n: v for n, v in arm.settings.items() if _has(arm.rule, n, registry)}
            if skipping and dataset not in skipping:
                fixed.pop(SKIP_BAD, None)
            for network in (arm.network,) if arm.network else networks:
                given = {} if arm.network else _given_options(study, network, registry)
                # An axis of one value: options on the command line are part of the point's name.
                varied = {**{n: v for n, v in axes.items() if n not in given}, **given}
                for combination in itertools.product(*varied.values()):
                    values: dict[str, Any] = dict(zip(varied, combination, strict=True))
                    settings = _with_path({**fixed, **values}, study.path)
                    yield Point(index, arm.rule, dataset, network, values, settings, arm.name)


def _given_options(study: Study, network: str, registry: Registry) -> dict[str, Choices]:
    """Return the network's options on the command line as axes of one value.

    Raises:
        UsageError: the network has no such option, or its value does not fit.
    """
    entry, spec = registry.find("networks", network), registry.load("networks", network)
    options = network_spec(entry, spec, study.network_options)
    return {f"net.{name}": (getattr(options, name),) for name in study.network_options}


def _with_path(settings: dict[str, Any], file: Path | None) -> dict[str, Any]:
    """Return settings with the absolute path of an encoder, which is relative to a study's file."""
    encoder = settings.get(ENCODER)
    if not isinstance(encoder, str) or not encoder:
        return settings
    folder = Path.cwd() if file is None else file.parent
    return {**settings, ENCODER: str((folder / Path(encoder).expanduser()).resolve())}
