"""The configurations of a study's points, with fallback settings where a rule needs them.

A study may have a fallback: options of rules that an arm gets only on the datasets and networks
where one of its points cannot be trained without them, or where an option that the study varies
could not act. All points of the arm there get them, so that they differ in the axes alone. Which
settings a point got, and why, is part of the point, of the plan and of the report.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lbench.errors import LbenchError, MisfitError, UsageError
from lbench.output.table import settings as settings_text
from lbench.registry import Registry
from lbench.studies.definition import Domain, Point, Study, UntrainablePoint
from lbench.studies.idle_options import refuse_idle_options, without_idle_options
from lbench.studies.settings import check_types, request
from lbench.studies.space import search_space
from lbench.training import plugin_errors
from lbench.training.batches import check_batches
from lbench.training.resolve import VALIDATION, Resolved, resolve


@dataclass(slots=True)
class Configurations:
    """Points with what is run at each.

    Args:
        points: points that can be trained, in order.
        resolved: configuration before the search, by the key of the point.
        spaces: search space by the key of the point; empty without a search.
        untrainable: points that cannot be trained.
    """

    points: list[Point] = field(default_factory=list)
    resolved: dict[str, Resolved] = field(default_factory=dict)
    spaces: dict[str, Mapping[str, Domain]] = field(default_factory=dict)
    untrainable: list[UntrainablePoint] = field(default_factory=list)

    def add(self, others: Configurations) -> None:
        """Add other points behind these."""
        self.points += others.points
        self.resolved |= others.resolved
        self.spaces |= others.spaces
        self.untrainable += others.untrainable


def configurations(
    study: Study, points: Iterable[Point], registry: Registry, data_dir: Path | None
) -> Configurations:
    """Return the configurations of points, with the fallback of the study where it is needed.

    Args:
        study: the study.
        points: its points, those of an arm on a dataset and network one after another.
        registry: installed rules, networks and datasets.
        data_dir: data directory that is searched first.

    Raises:
        UsageError: a setting is invalid, or a rule refuses its network at every point. The
            message names the point.
    """
    result = Configurations()
    misfit: UsageError | None = None
    for group in _groups(points):
        settings = _fallback(study, group[0], registry)
        part, refusal = _configured(study, group, registry, data_dir, first_only=bool(settings))
        need = refusal or (_idle(study, part) if settings else None)
        if settings and need is not None:
            group = _with_settings(group, settings, need)
            part, refusal = _configured(study, group, registry, data_dir)
            _drop_notes(part, settings)
        misfit = misfit or refusal
        result.add(part)
    if misfit is not None and not result.points:
        raise misfit
    return result


def _groups(points: Iterable[Point]) -> Iterator[list[Point]]:
    """Yield the points of each arm on a dataset and a network."""
    for _, group in itertools.groupby(points, key=lambda p: (p.dataset, p.arm, p.network)):
        yield list(group)


def _fallback(study: Study, point: Point, registry: Registry) -> Mapping[str, Any]:
    """Return the options of the fallback that a point's rule has, and that nothing else decides."""
    options = registry.load("rules", point.rule).Config.model_fields
    search = study.search
    decided = {
        *point.settings,
        *(search.space if search else ()),
        *((search and search.only) or ()),
    }
    return {n: v for n, v in study.fallback.items() if n in options and n not in decided}


def _configured(
    study: Study,
    points: Sequence[Point],
    registry: Registry,
    data_dir: Path | None,
    *,
    first_only: bool = False,
) -> tuple[Configurations, MisfitError | None]:
    """Return the configurations of points, and the first refusal of a network by a rule.

    Args:
        study: the study.
        points: the points.
        registry: installed rules, networks and datasets.
        data_dir: data directory that is searched first.
        first_only: whether to stop at the first refusal.

    Raises:
        UsageError: a setting is invalid. The message names the point.
    """
    result = Configurations()
    first: MisfitError | None = None
    for point in points:
        try:
            resolved, space = _resolved(study, point, registry, data_dir)
        except MisfitError as error:
            first = first or MisfitError(f"At {point.key}: {error.message}", error.hint)
            if first_only:
                break
            reason = f"{error.message} {error.hint}".rstrip()
            result.untrainable.append(UntrainablePoint(point, reason))
            continue
        except UsageError as error:
            raise UsageError(f"At {point.key}: {error.message}", error.hint) from None
        except LbenchError:
            raise
        except (Exception, SystemExit) as error:
            # The error is in the code of one rule; the other points do not depend on it.
            result.untrainable.append(UntrainablePoint(point, plugin_errors.reason(error)))
            continue
        result.resolved[point.key] = resolved
        if study.search:
            result.spaces[point.key] = space
        if problem := _too_small(resolved, space):
            result.untrainable.append(UntrainablePoint(point, problem))
        else:
            result.points.append(point)
    return result, first


def _resolved(
    study: Study, point: Point, registry: Registry, data_dir: Path | None
) -> tuple[Resolved, Mapping[str, Domain]]:
    """Return the configuration of a point, and the space of its search.

    Raises:
        UsageError: a setting is invalid, or the rule refuses the network.
    """
    if study.path is not None:
        # Values in a file have types; those of a command line are text.
        check_types(point, registry)
    wanted = replace(request(point, registry, study.protocol), data_dir=data_dir)
    space: Mapping[str, Domain] = {}
    if study.search:
        space = search_space(point.rule, study.search, point.settings, registry)
    return resolve(wanted, registry), space


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


def _idle(study: Study, part: Configurations) -> UsageError | None:
    """Return why an option that the study varies cannot act at these points, or None."""
    try:
        refuse_idle_options(part.points, part.resolved, part.spaces)
        if study.search:
            without_idle_options(part.points, part.resolved, part.spaces, study.search)
    except UsageError as error:
        return error
    return None


def _with_settings(
    points: Iterable[Point], settings: Mapping[str, Any], need: UsageError
) -> list[Point]:
    """Return points with settings of the fallback, and the sentences that say so."""
    return [
        replace(p, settings={**p.settings, **settings}, fallback=_sentences(p, settings, need))
        for p in points
    ]


def _sentences(point: Point, settings: Mapping[str, Any], need: UsageError) -> str:
    where = f"{point.label or point.rule} on {point.dataset}, {point.network}"
    # The message begins with the point, which the axes make too precise here.
    reason = need.message.partition(": ")[2]
    return (
        f"{where} has {settings_text(settings.items())}, which the study sets where a rule needs "
        f"it. Without: {reason}"
    )


def _drop_notes(part: Configurations, settings: Mapping[str, Any]) -> None:
    """Leave out the notes on options of the fallback that cannot act on these layers.

    They are kept in the configuration: the small network of the audit may have other layers.
    """
    begins = tuple(f"Option {name} cannot act" for name in settings)
    for key, resolved in part.resolved.items():
        notes = [note for note in resolved.notes if not note.startswith(begins)]
        part.resolved[key] = replace(resolved, notes=notes)
