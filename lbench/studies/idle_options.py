"""Options of a rule that a study varies, although they cannot act on its networks."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pydantic

from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.per_block import per_block_text
from lbench.studies.definition import Domain, Point, Search, Span
from lbench.training.option_effects import OptionEffects, declares_effects
from lbench.training.resolve import Resolved

TRIED = 11
"""Values of a range that are tried, at equal distances or on its grid."""
COMBINATIONS = 200
"""Largest number of combinations of other searched options with which an option is tried."""

Spaces = Mapping[str, Mapping[str, Domain]]


def refuse_idle_options(
    points: Sequence[Point], resolved: Mapping[str, Resolved], spaces: Spaces
) -> None:
    """Refuse to vary an option of a rule between points that are the same rule.

    Points are compared that differ in this option alone. The option is refused if no two of them
    differ in what their rule does, for any values of the options that are searched.

    Raises:
        UsageError: there is such an option. The message has the first point, the values, and the
            numbers per block; the hint is the rule's.
    """
    for group in _comparable(points, resolved):
        first = resolved[group[0].key]
        if len(group) < 2 or not declares_effects(first.cell.rule_class):
            continue
        effects = _effects(first)
        configs = [resolved[point.key].cell.config for point in group]
        for option in type(first.cell.config).model_fields:
            sets = [
                part
                for part in _differing_in(option, configs)
                if len({repr(getattr(config, option)) for config in part}) > 1
            ]
            space = spaces.get(group[0].key, {})
            if sets and all(_same(effects, part, space) for part in sets):
                point = group[configs.index(sets[0][0])]
                values = ", ".join(str(getattr(config, option)) for config in sets[0])
                raise _refusal(point.key, option, sets[0][0], effects, f"the values {values}")


def without_idle_options(
    points: Sequence[Point], resolved: Mapping[str, Resolved], spaces: Spaces, search: Search
) -> tuple[dict[str, Mapping[str, Domain]], list[str]]:
    """Return the search spaces without options that cannot act, and a note on each of these.

    Raises:
        UsageError: the study names such an option in its search.
    """
    named = {*search.space, *(search.only or ())}
    acting: dict[str, Mapping[str, Domain]] = dict(spaces)
    notes: list[str] = []
    for point in points:
        cell, space = resolved[point.key].cell, spaces[point.key]
        options = [name for name in space if name in type(cell.config).model_fields]
        if not options or not declares_effects(cell.rule_class):
            continue
        effects, left_out = _effects(resolved[point.key]), []
        for option in options:
            values = list(_values(space[option]))
            varied = [c for value in values if (c := _with(cell.config, {option: value}))]
            others = {name: domain for name, domain in space.items() if name != option}
            if len(varied) < 2 or not _same(effects, varied, others):
                continue
            if option in named:
                words = f"the values {values[0]} to {values[-1]}"
                if not isinstance(space[option], Span):
                    words = f"the values {', '.join(map(str, values))}"
                raise _refusal(point.key, option, cell.config, effects, words)
            left_out.append(option)
        if left_out:
            acting[point.key] = {name: d for name, d in space.items() if name not in left_out}
            numbers = per_block_text(effects.per_block(cell.config))
            notes.append(
                f"At {point.key}: not searched, because it cannot act here: "
                f"{', '.join(left_out)}{f' ({numbers})' if numbers else ''}."
            )
    return acting, notes


def _comparable(points: Iterable[Point], resolved: Mapping[str, Resolved]) -> Iterator[list[Point]]:
    """Yield the points of each rule, recipe, network and task, whatever the rule's options are."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        spec = resolved[point.key].cell.spec()
        rule = {name: value for name, value in spec["rule"].items() if name != "config"}
        groups.setdefault(json.dumps({**spec, "rule": rule}, sort_keys=True), []).append(point)
    yield from groups.values()


def _differing_in(option: str, configs: Iterable[RuleConfig]) -> list[list[RuleConfig]]:
    """Return the sets of options that differ in one option alone."""
    sets: dict[str, list[RuleConfig]] = {}
    for config in configs:
        others = {n: value for n, value in config.model_dump().items() if n != option}
        sets.setdefault(repr(others), []).append(config)
    return list(sets.values())


def _same(
    effects: OptionEffects, configs: Sequence[RuleConfig], space: Mapping[str, Domain]
) -> bool:
    """Return whether configurations are the same rule for all values of searched options."""
    for values in _combinations(configs[0], space):
        varied = [c for config in configs if (c := _with(config, values))]
        if varied and not effects.same(varied):
            return False
    return True


def _combinations(config: RuleConfig, space: Mapping[str, Domain]) -> Iterator[dict[str, Any]]:
    """Yield values of the searched options of a rule: all combinations, or some of very many."""
    yield {}
    names = [name for name in space if name in type(config).model_fields]
    values = {name: list(_values(space[name])) for name in names}
    if math.prod(map(len, values.values())) <= COMBINATIONS:
        for combination in itertools.product(*values.values()):
            yield dict(zip(names, combination, strict=True))
        return
    for name in names:
        yield from ({name: value} for value in values[name])
    draws = random.Random(0)
    for _ in range(COMBINATIONS):
        yield {name: draws.choice(values[name]) for name in names}


def _values(domain: Domain) -> Iterator[Any]:
    """Yield the values of a domain, of a range some of them with both ends."""
    if not isinstance(domain, Span):
        yield from domain
        return
    low, high = domain.low, domain.high
    for at in range(TRIED):
        share = at / (TRIED - 1)
        value = low * (high / low) ** share if domain.log else low + (high - low) * share
        if domain.step:
            value = low + round((value - low) / domain.step) * domain.step
        yield int(value) if float(value).is_integer() and isinstance(low, int) else value


def _with(config: RuleConfig, values: Mapping[str, Any]) -> RuleConfig | None:
    """Return options with other values; None if these do not fit."""
    try:
        return type(config)(**{**config.model_dump(), **values})
    except pydantic.ValidationError:
        return None


def _effects(resolved: Resolved) -> OptionEffects:
    cell = resolved.cell
    return OptionEffects(cell.rule_class, cell.build_network(Init(0)), cell.task)


def _refusal(
    key: str, option: str, config: RuleConfig, effects: OptionEffects, values: str
) -> UsageError:
    sentence = effects.sentence(option, config, values)
    return UsageError(f"At {key}: {sentence}", effects.remedy(option, config))
