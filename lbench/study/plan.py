"""From a study to its points, with everything checked before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lbench.errors import DataError, LbenchError, UsageError
from lbench.recipe import Recipe, idle
from lbench.registry import Registry
from lbench.run import raised
from lbench.run.batches import check_batches
from lbench.run.resolve import VALIDATION, Resolved, refuse_idle, resolve
from lbench.study.definition import Arm, Domain, Point, Span, Study, UntrainablePoint
from lbench.study.equal_operations import check_equal_operations
from lbench.study.probes import check_probes
from lbench.study.settings import EQUAL, TASK, check_settings, check_types, request
from lbench.study.space import check_space, search_space
from lbench.study.study_plan import StudyPlan

SMALL = 64 * 2**20
"""Bytes of training pixels up to which a dataset is taken on a CPU without being asked for."""


def plan(
    study: Study,
    registry: Registry,
    *,
    datasets: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    data_dir: Path | None = None,
    gpu: bool = False,
) -> StudyPlan:
    """The points of a study.

    Args:
        datasets: in the place of the study's; each must be there.
        rules: of the study's, those that are wanted.
        data_dir: where data is looked for first.
        gpu: whether large datasets that are there are taken without being asked for.

    Raises:
        UsageError: an unknown name, a value out of range, or parts that do not fit.
        DataError: a dataset that was asked for is not there, or none of the study's is.
    """
    study = _of_rules(study, rules, registry)
    _check_names(study, registry)
    wanted = dict.fromkeys(datasets or study.datasets)
    absent = _all_absent(wanted, registry, data_dir, asked=bool(datasets), large=gpu)
    there = [name for name in wanted if name not in absent]
    if not there:
        raise DataError(
            f"None of the datasets of study {study.name} is there: "
            + "; ".join(f"{name}: {reason}" for name, reason in absent.items()),
            "Name one with --datasets, as in: --datasets digits",
        )
    points = list(_points(study, there, registry))
    keys = [point.key for point in points]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(
            f"Study {study.name} has two points called {twice}.",
            "Give the arms of one rule different names: name = …",
        )
    resolved, spaces, untrainable = _resolved(study, points, registry, data_dir)
    keys = [each.point.key for each in untrainable]
    points = [point for point in points if point.key not in keys]
    _refuse_idle(points, resolved, spaces)
    _check_searched(study, points, spaces)
    found = StudyPlan(study, points, spaces, resolved, absent, untrainable=untrainable)
    check_equal_operations(found)
    check_probes(found, registry)
    return found


def _resolved(
    study: Study, points: Sequence[Point], registry: Registry, data_dir: Path | None
) -> tuple[dict[str, Resolved], dict[str, Mapping[str, Domain]], list[UntrainablePoint]]:
    """The cell and the space of each point, by its key, and the points that cannot be trained.

    Raises:
        UsageError: a setting does not fit; says at which point.
    """
    resolved: dict[str, Resolved] = {}
    spaces: dict[str, Mapping[str, Domain]] = {}
    untrainable: list[UntrainablePoint] = []
    for point in points:
        try:
            if study.path is not None:
                # What a file has is typed; a command line has text.
                check_types(point, registry)
            asked = replace(request(point, registry, study.protocol), data_dir=data_dir)
            if study.search:
                spaces[point.key] = search_space(point.rule, study.search, point.settings, registry)
            resolved[point.key] = resolve(asked, registry)
        except UsageError as error:
            raise UsageError(f"At {point.key}: {error.message}", error.hint) from None
        except LbenchError:
            raise
        except (Exception, SystemExit) as error:
            # One rule's code is at fault; what the others are asked does not depend on it.
            untrainable.append(UntrainablePoint(point, raised.reason(error)))
            continue
        if problem := _too_small(resolved[point.key], spaces.get(point.key, {})):
            untrainable.append(UntrainablePoint(point, problem))
    return resolved, spaces, untrainable


def _too_small(resolved: Resolved, space: Mapping[str, Domain]) -> str | None:
    """Why no run can train on its batches; None where runs can, or a search chooses the batch."""
    if "batch" in space:
        return None
    try:
        check_batches(resolved)
        if space:
            # Trials hold validation examples out, whatever the final runs do.
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
    """Refuse settings that cannot act: a value of an axis anywhere, any other setting everywhere.

    What is set for several points need not act at each of them: a momentum is for those with sgd.

    Raises:
        UsageError: there is one; says where, why, and what mends it.
    """
    never = {p.key: _never_acts(resolved[p.key], spaces.get(p.key, {})) for p in points}
    acting = {name for p in points for name in p.settings if name not in never[p.key]}
    for point in points:
        here = never[point.key].items()
        refused = {n: why for n, why in here if n in point.values or n not in acting}
        try:
            refuse_idle(refused)
        except UsageError as error:
            raise UsageError(f"At {point.key}: {error.message}", error.hint) from None


def _never_acts(resolved: Resolved, space: Mapping[str, Domain]) -> Mapping[str, tuple[str, str]]:
    """Return what was asked for and cannot act, whatever a search may choose beside it."""
    recipes = [resolved.cell.recipe]
    for name in ("optimizer", "schedule"):
        if not isinstance(choices := space.get(name, ()), Span) and choices:
            recipes = [r.model_copy(update={name: each}) for r in recipes for each in choices]
    found = [idle(recipe) for recipe in recipes]
    return {n: why for n, why in resolved.idle.items() if all(n in each for each in found)}


def _check_searched(
    study: Study, points: Sequence[Point], spaces: Mapping[str, Mapping[str, Domain]]
) -> None:
    """Refuse what is to be searched and is set wherever a rule has it.

    Raises:
        UsageError: there is something.
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


def _of_rules(study: Study, rules: Sequence[str] | None, registry: Registry) -> Study:
    """The study with the arms of these rules; a rule that it has not gets an arm of its own."""
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
        # Under the terms of the first arm, as far as the rule has them.
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
    known = registry.load("rules", rule).Config.model_fields
    common = (*Recipe.model_fields, *TASK, EQUAL)
    return name in known or name in common or name.startswith(("net.", "data."))


def _all_absent(
    names: Iterable[str], registry: Registry, data_dir: Path | None, *, asked: bool, large: bool
) -> dict[str, str]:
    """The datasets that are left out, with the reason; the arguments are those of `_absent`.

    Raises:
        UsageError: nobody brings one of them, whether the others are there or not.
    """
    names = list(names)
    for name in names:
        registry.find("datasets", name)
    reasons = {n: _absent(n, registry, data_dir, asked=asked, large=large) for n in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _absent(
    name: str, registry: Registry, data_dir: Path | None, *, asked: bool, large: bool
) -> str | None:
    """Why a dataset is left out; None when it is taken.

    Args:
        asked: by name: it may be downloaded, and may not be left out.
        large: whether a large one is taken without being asked for.

    Raises:
        DataError: it was asked for and is not there.
    """
    source = registry.load("datasets", name)()
    try:
        data = source.load(data_dir, download=asked)
    except DataError as error:
        if asked:
            raise
        return error.message.partition(" Looked in")[0].rstrip(".")
    if not asked and not large and data.train.images.nbytes > SMALL:
        return f"large for a CPU; ask for it with --datasets {name}"
    return None


def _points(study: Study, datasets: Sequence[str], registry: Registry) -> Iterator[Point]:
    for dataset in datasets:
        own = registry.find("datasets", dataset).network
        for index, arm in enumerate(study.arms):
            # An axis that a rule does not have is no axis of that rule.
            axes = {n: v for n, v in arm.axes.items() if _has(arm.rule, n, registry)}
            fixed = {n: v for n, v in arm.settings.items() if _has(arm.rule, n, registry)}
            for network in (arm.network,) if arm.network else study.networks or (own,):
                for combination in itertools.product(*axes.values()):
                    values: dict[str, Any] = dict(zip(axes, combination, strict=True))
                    settings = {**fixed, **values}
                    yield Point(index, arm.rule, dataset, network, values, settings, arm.name)
