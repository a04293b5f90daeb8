"""Search spaces: the ranges that options declare, narrowed by the study."""

from __future__ import annotations

import math
import types
import typing
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from lbench.config import Options, describe, limits
from lbench.errors import UsageError
from lbench.recipe import Recipe
from lbench.registry import Registry
from lbench.studies.definition import Choices, Domain, Search, Span
from lbench.studies.settings import check_settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ALWAYS: Mapping[str, Domain] = {
    "lr": Span(1e-4, 0.1, log=True),
    "weight_decay": Span(1e-7, 1e-2, log=True),
    "optimizer": ("adam", "adamw", "sgd"),
}
"""Searched in every search, so that rules are compared at the best learning rate of each."""


def search_space(
    rule: str, search: Search, settings: Mapping[str, Any], registry: Registry
) -> dict[str, Domain]:
    """Return the search space of a rule: its options, then learning rate, decay and optimizer.

    Options that the study sets or that declare no range are left out. So are those that do not
    change results (``param(searched=False)``), unless the search names them.

    Args:
        rule: name of the rule.
        search: the search, with ``only`` and ``space``.
        settings: settings of the study at the point.
        registry: installed rules.

    Raises:
        UsageError: a name is unknown, a domain exceeds an option's range, an option in ``only``
            declares no range, the sampler "grid" has a range in place of values, or there is
            nothing to search.
    """
    config: type[Options] = registry.load("rules", rule).Config
    narrowed = {name: d for name, d in search.space.items() if name not in settings}
    own = [name for name in config.model_fields if name not in settings]
    if search.only is None:
        own = [name for name in own if _extra(config, name).get("searched", True)]
    else:
        own = [name for name in own if name in search.only]
    own += [name for name in narrowed if name in config.model_fields and name not in own]
    domains: dict[str, Domain] = {}
    for name in own:
        if (domain := narrowed.get(name) or declared_domain(config, name)) is not None:
            domains[name] = domain
        elif search.only is not None:
            raise UsageError(
                f"Option {name} of rule {rule} is {describe(config, name)}: it declares no range "
                "to search.",
                f"Give it one in the study's [search.space], as in: {name} = [1, 2]",
            )
    domains |= {name: narrowed.get(name, d) for name, d in ALWAYS.items() if name not in settings}
    for name, domain in narrowed.items():
        if name not in domains and name in Recipe.model_fields:
            domains[name] = domain
    if not domains and search.sampler != "grid":
        raise UsageError(
            f"Nothing is left to search for rule {rule}: the study sets every option.",
            "Leave out [search] or one of the settings.",
        )
    for name, domain in domains.items():
        _check_domain(config if name in config.model_fields else Recipe, name, domain, rule)
        if search.sampler == "grid" and isinstance(domain, Span):
            raise UsageError(
                f"The sampler grid needs values of {name}, but it has the range "
                f"{format_domain(domain)}.",
                f"List its values in [search.space], as in: {name} = [0.001, 0.01]; or set it.",
            )
    return domains


def check_space(search: Search, rules: tuple[str, ...], registry: Registry) -> None:
    """Check that each name can be searched: an option of at least one rule, or of the recipe.

    Raises:
        UsageError: a name cannot be searched. The message has the most similar name.
    """
    options = {rule: registry.load("rules", rule).Config.model_fields for rule in rules}
    for name in [*search.space, *(search.only or ())]:
        if any(name in fields for fields in options.values()) or name in Recipe.model_fields:
            continue
        check_settings(rules[0], (name,), registry)
        raise UsageError(
            f"{name} cannot be searched: only options of rules and of the recipe can.",
            f'Make it an axis instead, as in: [axes] "{name}" = […]',
        )
    for name in search.only or ():
        if not any(name in fields for fields in options.values()) and name not in ALWAYS:
            raise UsageError(
                f"{name} is a part of the recipe, but the field 'only' takes options of rules.",
                f"Give it a domain in the study's [search.space], as in: {name} = [0.0, 0.1]",
            )


def trial_count(search: Search, space: Mapping[str, Domain]) -> int:
    """Return the number of trials in a space: for the sampler "grid" that of combinations."""
    if search.sampler != "grid":
        return search.trials
    return math.prod(len(domain) for domain in space.values() if not isinstance(domain, Span))


def declared_domain(config: type[Options], name: str) -> Domain | None:
    """Return the domain in which an option is searched; None for one without a range."""
    annotation = config.model_fields[name].annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return None
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    if annotation is bool:
        return (False, True)
    extra = _extra(config, name)
    low, high = extra.get("search") or limits(config, name)
    if low is None or high is None or annotation not in (int, float):
        return None
    # A logarithmic range has no steps and cannot begin at 0.
    log = bool(extra.get("log")) and low > 0
    step = extra.get("step")
    return Span(low, high, float(step) if isinstance(step, (int, float)) and not log else None, log)


def _extra(config: type[Options], name: str) -> dict[str, Any]:
    """Return what the option declares besides its type and limits."""
    extra = config.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def distribution(domain: Domain, *, integer: bool) -> BaseDistribution:
    """Return Optuna's distribution for a domain; ``integer`` for whole numbers."""
    from optuna import distributions as d

    if not isinstance(domain, Span):
        return d.CategoricalDistribution([hashable(value) for value in domain])
    with warnings.catch_warnings():
        # Optuna warns when the last step does not reach ``high`` and is left out.
        warnings.simplefilter("ignore", UserWarning)
        if integer:
            low, high, step = int(domain.low), int(domain.high), int(domain.step or 1)
            return d.IntDistribution(low, high, log=domain.log, step=step)
        return d.FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def is_integer(rule: str, name: str, registry: Registry) -> bool:
    """Return whether a setting takes whole numbers."""
    config: type[Options] = registry.load("rules", rule).Config
    for cls in (config, Recipe):
        if name in cls.model_fields:
            return cls.model_fields[name].annotation is int
    return name in ("epochs", "examples", "blocks")


def format_domain(domain: Domain) -> str:
    """Return a domain as text: ``0.0001 ... 0.1, logarithmic``."""
    if not isinstance(domain, Span):
        return ", ".join(str(value) for value in domain)
    words = f"{domain.low:g} ... {domain.high:g}"
    if domain.step:
        words += f" in steps of {domain.step:g}"
    return words + (", logarithmic" if domain.log else "")


def _check_domain(cls: type[Options], name: str, domain: Domain, rule: str) -> None:
    values: Choices = (domain.low, domain.high) if isinstance(domain, Span) else domain
    what = f"rule {rule}" if cls is not Recipe else "the recipe"
    annotation = cls.model_fields[name].annotation
    if isinstance(domain, Span) and annotation not in (int, float):
        raise UsageError(
            f"Option {name} of {what} is {describe(cls, name)}: it has no range to search.",
            f"List its values instead, as in: {name} = […]",
        )
    if isinstance(domain, Span) and annotation is int and (domain.step or 1) % 1:
        raise UsageError(
            f"Option {name} of {what} takes whole numbers, but its step is {domain.step:g}."
        )
    for value in values:
        try:
            if not isinstance(domain, Span):
                cls.check_types({name: value}, what=what, listing="")
            cls.parse({name: value}, what=what, listing="")
        except UsageError as error:
            raise UsageError(
                f"The space of {name} leaves its range. {error.message}",
                f"See the ranges with: lbench rules {rule}",
            ) from None


def hashable(value: Any) -> Any:
    """Return a value as Optuna stores it: its JSON would turn a tuple into a list."""
    return ",".join(str(part) for part in value) if isinstance(value, (list, tuple)) else value
