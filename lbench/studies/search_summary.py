"""The results of a search in words: counts, ranges of the best trials, and the space."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.config import Options, limits
from lbench.output.table import text
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.studies.definition import Domain, Span
from lbench.studies.results import SearchResult, Trial

WHOLE = 0.9
"""Share of a range that counts as the whole range: its ends are seldom suggested."""
STATES = ("complete", "pruned", "fail", "running")


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a setting in the trials that are indistinguishable from the best.

    Args:
        name: of the setting.
        best: its value in the best trial.
        values: the different values, in order.
        whole: whether they are all that was searched: the setting is not identified.
        words: ``0.1 ... 1 (the whole range: not identified)``.
    """

    name: str
    best: Any
    values: Sequence[Any]
    whole: bool
    words: str


def counts(search: SearchResult) -> dict[str, int]:
    """Return the number of trials in each state."""
    found = collections.Counter(trial.state for trial in search.trials)
    return {state: found[state] for state in STATES}


def counted(search: SearchResult) -> str:
    """Return ``50 of 50 trials: 31 complete, 18 pruned, 1 fail; 2 of them diverged``."""
    found = [f"{n} {state}" for state, n in counts(search).items() if n or state == "complete"]
    words = f"{len(search.trials)} of {search.wanted} trials: {', '.join(found)}"
    lost = sum(diverged(trial) for trial in search.trials)
    return f"{words}; {lost} of them diverged" if lost else words


def diverged(trial: Trial) -> bool:
    """Return whether a trial diverged: to a sampler it is a pruned trial."""
    return (trial.reason or "").startswith("diverged")


def value(trial: Trial) -> float | None:
    """Return the first objective; None unless the trial is complete and its value finite."""
    if trial.values is None or not math.isfinite(trial.values[0]):
        return None
    return trial.values[0]


def ranges(search: SearchResult) -> list[Range]:
    """Return the range of each setting in the trials indistinguishable from the best.

    With one trial alone its values are identified.
    """
    if search.best is None:
        return []
    together = list(search.indistinguishable) or [search.best]
    return [
        _range(name, domain, search.best, together)
        for name, domain in search.space.items()
        if name in search.best.params
    ]


def edges(searches: Sequence[SearchResult]) -> list[str]:
    """Return sentences on settings whose best value is at an end of what was searched.

    An end says nothing where the whole range is indistinguishable, or where the option ends there.
    """
    searched = collections.Counter(name for search in searches for name in search.space)
    found = collections.Counter[tuple[str, str]]()
    for search in searches:
        for entry in ranges(search):
            if not entry.whole and (end := _end(search, entry)) is not None:
                found[entry.name, end] += 1
    return [
        f"{name}: the best of {n} of {searched[name]} searches is at the {end} of what was "
        "searched; a wider range may have a lower error."
        for (name, end), n in found.items()
    ]


def best_so_far(search: SearchResult) -> list[tuple[int, float]]:
    """Return the lowest value up to each complete trial, by the trial's number."""
    lowest, found = math.inf, []
    for trial in search.trials:
        if (result := value(trial)) is not None:
            lowest = min(lowest, result)
            found.append((trial.number, lowest))
    return found


def _range(name: str, domain: Domain, best: Trial, together: Sequence[Trial]) -> Range:
    values = [trial.params[name] for trial in together if name in trial.params]
    # Defaults may be outside of what is searched: they are no part of its range.
    values = [value for value in values if within(domain, value)]
    if not values:
        return Range(name, best.params[name], [best.params[name]], False, text(best.params[name]))
    if isinstance(domain, Span):
        low, high = min(values), max(values)
        whole = _covers(domain, low, high)
        words = text(_short(low)) if low == high else f"{_short(low):g} ... {_short(high):g}"
        listed = sorted(set(values))
    else:
        # In the order in which they were listed.
        texts = {text(value) for value in values}
        listed = [choice for choice in domain if text(choice) in texts]
        whole = len(listed) == len(domain) > 1
        words = ", ".join(map(text, listed))
    if whole:
        words += " (the whole range: not identified)"
    return Range(name, best.params[name], listed, whole, words)


def _end(search: SearchResult, found: Range) -> str | None:
    """Return ``upper end (0.03)``; None in the middle, and at an end of the option itself."""
    domain = search.space[found.name]
    if not within(domain, found.best):
        return None
    if not isinstance(domain, Span):
        numbers = all(type(choice) in (int, float) for choice in domain)
        if not numbers or len(domain) < 3:
            return None
        domain = Span(min(domain), max(domain))
        near = 0.0
    else:
        near = (1 - WHOLE) / 2
    least, most = _limits(search.point.rule, found.name)
    scale = math.log if domain.log else float
    low, high, best = scale(domain.low), scale(domain.high), scale(found.best)
    if best <= low + near * (high - low) and domain.low != least:
        return f"lower end ({domain.low:g})"
    if best >= high - near * (high - low) and domain.high != most:
        return f"upper end ({domain.high:g})"
    return None


def _limits(rule: str, name: str) -> tuple[float | None, float | None]:
    config: type[Options] = registry().load("rules", rule).Config
    return limits(config if name in config.model_fields else Recipe, name)


def within(domain: Domain, value: Any) -> bool:
    """Return whether a value is one that was searched."""
    if not isinstance(domain, Span):
        return text(value) in map(text, domain)
    return value is not None and domain.low <= value <= domain.high


def _covers(span: Span, low: float, high: float) -> bool:
    if span.high <= span.low:
        return False
    if span.step and (span.high - span.low) / span.step <= 1 / (1 - WHOLE):
        # With few steps each one counts.
        near = span.step / 2
        return low - span.low < near and span.high - high < near
    scale = math.log if span.log else float
    return (scale(high) - scale(low)) >= WHOLE * (scale(span.high) - scale(span.low))


def _short(number: float) -> float:
    return float(f"{number:.3g}")


def settings_of(params: Mapping[str, Any]) -> str:
    """Return ``leadership=0.7 lr=0.00312``."""
    return " ".join(
        f"{name}={text(_short(param) if isinstance(param, float) else param)}"
        for name, param in params.items()
    )
