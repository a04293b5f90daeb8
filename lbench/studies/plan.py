"""Expansion of a study to its points, with all checks that are possible before training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lbench.errors import DataError, LbenchError, UsageError
from lbench.recipe import Recipe, idle
from lbench.registry import Registry
from lbench.studies.definition import Arm, Domain, Point, Span, Study, UntrainablePoint
from lbench.studies.equal_operations import check_equal_operations
from lbench.studies.idle_options import refuse_idle_options, without_idle_options
from lbench.studies.probes import check_probes
from lbench.studies.settings import EQUAL, TASK, check_settings, check_types, request
from lbench.studies.space import check_space, search_space
from lbench.studies.study_plan import StudyPlan
from lbench.training import plugin_errors
from lbench.training.batches import check_batches
from lbench.training.resolve import VALIDATION, Resolved, refuse_idle, resolve

SMALL = 64 * 2**20
"""Bytes of training images up to which a CPU takes a dataset that the user did not name."""


def plan(
    study: Study,
    registry: Registry,
    *,
    datasets: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    data_dir: Path | None = None,
    gpu: bool = False,
) -> StudyPlan:
    """Return the plan of a study: its points with their configurations and search spaces.

    Args:
        study: the study.
        registry: installed rules, networks, datasets and probes.
        datasets: names that replace those of the study; the data of each must be available.
        rules: names of the rules that are run; None for all of the study.
        data_dir: data directory that is searched first.
        gpu: whether large datasets are taken although the user did not name them.

    Raises:
        UsageError: a name is unknown, a value is out of range, or parts do not fit each other.
        DataError: a dataset that the user named is missing, or all of the study's are.
    """
    whole, study = (_with_rules(study, selected, registry) for selected in (None, rules))
    # Settings, axes and searches may have options that only rules have which are not selected.
    _check_names(replace(study, arms=(*whole.arms, *study.arms)), registry)
    names = dict.fromkeys(datasets or study.datasets)
    absent = _all_absent(names, registry, data_dir, named=bool(datasets), large=gpu)
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
    resolved, spaces, untrainable = _resolved(study, points, registry, data_dir)
    keys = [failed.point.key for failed in untrainable]
    points = [point for point in points if point.key not in keys]
    _refuse_idle(points, resolved, spaces)
    _check_searched(study, points, spaces)
    refuse_idle_options(points, resolved, spaces)
    notes: list[str] = []
    if study.search:
        spaces, notes = without_idle_options(points, resolved, spaces, study.search)
    result = StudyPlan(
        study, points, spaces, resolved, absent, untrainable=untrainable, notes=notes
    )
    check_equal_operations(result)
    check_probes(result, registry)
    return result


def _resolved(
    study: Study, points: Sequence[Point], registry: Registry, data_dir: Path | None
) -> tuple[dict[str, Resolved], dict[str, Mapping[str, Domain]], list[UntrainablePoint]]:
    """Return configurations and search spaces by the key of the point, and untrainable points.

    Raises:
        UsageError: a setting is invalid. The message names the point.
    """
    resolved: dict[str, Resolved] = {}
    spaces: dict[str, Mapping[str, Domain]] = {}
    untrainable: list[UntrainablePoint] = []
    for point in points:
        try:
            if study.path is not None:
                # Values in a file have types; those of a command line are text.
                check_types(point, registry)
            wanted = replace(request(point, registry, study.protocol), data_dir=data_dir)
            if study.search:
                spaces[point.key] = search_space(point.rule, study.search, point.settings, registry)
            resolved[point.key] = resolve(wanted, registry)
        except UsageError as error:
            raise UsageError(f"At {point.key}: {error.message}", error.hint) from None
        except LbenchError:
            raise
        except (Exception, SystemExit) as error:
            # The error is in the code of one rule; the other points do not depend on it.
            untrainable.append(UntrainablePoint(point, plugin_errors.reason(error)))
            continue
        if problem := _too_small(resolved[point.key], spaces.get(point.key, {})):
            untrainable.append(UntrainablePoint(point, problem))
    return resolved, spaces, untrainable


def _too_small(resolved: Resolved, space: Mapping[str, Domain]) -> str | None:
    """Return why no run can train on its batches, or None.

    A search of the batch size may choose one that works.
    """
    if "batch" in space:
        return None
    try:
        check_batches(resolved)
        if space:
            # Trials hold out validation examples, even if the final runs do not.
            trial = replace(resolved.cell, validation=VALIDATION)
            check_batches(replace(resolved, cell=trial))
    except UsageError as error:
        return f"{error.message} {error.hint}"
    return None


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
    for name in study.networks:
        registry.find("networks", name)
    for name in study.probes:
        registry.find("probes", name)
    rules = tuple(dict.fromkeys(arm.rule for arm in arms))
    for name in dict.fromkeys(name for arm in arms for name in [*arm.settings, *arm.axes]):
        if not any(_has(rule, name, registry) for rule in rules):
            check_settings(rules[0], (name,), registry)
    if study.search:
        check_space(study.search, rules, registry)


def _has(rule: str, name: str, registry: Registry) -> bool:
    options = registry.load("rules", rule).Config.model_fields
    common = (*Recipe.model_fields, *TASK, EQUAL)
    return name in options or name in common or name.startswith(("net.", "data."))


def _all_absent(
    names: Iterable[str], registry: Registry, data_dir: Path | None, *, named: bool, large: bool
) -> dict[str, str]:
    """Return the datasets that are left out, with reasons; the arguments are those of `_absent`.

    Raises:
        UsageError: a name is unknown, whether the other datasets are available or not.
    """
    names = list(names)
    for name in names:
        registry.find("datasets", name)
    reasons = {n: _absent(n, registry, data_dir, named=named, large=large) for n in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _absent(
    name: str, registry: Registry, data_dir: Path | None, *, named: bool, large: bool
) -> str | None:
    """Return why a dataset is left out; None when it is taken.

    Args:
        name: name of the dataset.
        registry: installed datasets.
        data_dir: data directory that is searched first.
        named: whether the user named it: it may then be downloaded, and is never left out.
        large: whether a large dataset is taken although the user did not name it.

    Raises:
        DataError: the user named it, and its data is missing.
    """
    source = registry.load("datasets", name)()
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
    for dataset in datasets:
        own = registry.find("datasets", dataset).network
        for index, arm in enumerate(study.arms):
            # Axes and settings that the rule does not have are left out.
            axes = {n: v for n, v in arm.axes.items() if _has(arm.rule, n, registry)}
            fixed = {n: v for n, v in arm.settings.items() if _has(arm.rule, n, registry)}
            for network in (arm.network,) if arm.network else study.networks or (own,):
                for combination in itertools.product(*axes.values()):
                    values: dict[str, Any] = dict(zip(axes, combination, strict=True))
                    settings = {**fixed, **values}
                    yield Point(index, arm.rule, dataset, network, values, settings, arm.name)
