"""What a search found, in words: counts, ranges that cannot be told apart, the space."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.config import Options, limits
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.report.table import text
from lbench.studies.definition import Domain, Span
from lbench.studies.results import SearchResult, Trial

WHOLE = 0.9
"""Share of a range that counts as all of it: the ends themselves are seldom suggested."""
STATES = ("complete", "pruned", "fail", "running")


@dataclass(frozen=True, slots=True)
class Range:
    """What the trials that cannot be told apart from the best have of a setting.

    Args:
        name: of the setting.
        best: its value in the best trial.
        values: of all of them, each once, in order.
        whole: whether that is all that was searched: the setting is not identified.
        words: ``0.1 ... 1 (the whole range: not identified)``.
    """

    name: str
    best: Any
    values: Sequence[Any]
    whole: bool
    words: str


def counts(search: SearchResult) -> dict[str, int]:
    """Trials by state, those that there are none of too."""
    found = collections.Counter(trial.state for trial in search.trials)
    return {state: found[state] for state in STATES}


def counted(search: SearchResult) -> str:
    """``50 of 50 trials: 31 complete, 18 pruned, 1 fail; 2 of them diverged``."""
    found = [f"{n} {state}" for state, n in counts(search).items() if n or state == "complete"]
    words = f"{len(search.trials)} of {search.wanted} trials: {', '.join(found)}"
    lost = sum(diverged(trial) for trial in search.trials)
    return f"{words}; {lost} of them diverged" if lost else words


def diverged(trial: Trial) -> bool:
    """Whether its loss went to infinity: to a sampler it is a pruned trial."""
    return (trial.reason or "").startswith("diverged")


def value(trial: Trial) -> float | None:
    """Of the first objective; None unless the trial is complete and its value finite."""
    if trial.values is None or not math.isfinite(trial.values[0]):
        return None
    return trial.values[0]


def ranges(search: SearchResult) -> list[Range]:
    """Of each setting what the trials have that cannot be told apart from the best.

    One trial alone is a set of one: its values are then what is identified.
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
    """Settings whose best value lies where the search ended, though it might have gone on.

    Where the whole range cannot be told apart an end says nothing.
    """
    asked = collections.Counter(name for each in searches for name in each.space)
    found = collections.Counter[tuple[str, str]]()
    for search in searches:
        for each in ranges(search):
            if not each.whole and (end := _end(search, each)) is not None:
                found[each.name, end] += 1
    return [
        f"{name}: the best of {n} of {asked[name]} searches lies at the {end} of what was "
        "searched; a wider range may hold a lower error."
        for (name, end), n in found.items()
    ]


def best_so_far(search: SearchResult) -> list[tuple[int, float]]:
    """The lowest value up to each complete trial, by the trial's number."""
    lowest, found = math.inf, []
    for trial in search.trials:
        if (mine := value(trial)) is not None:
            lowest = min(lowest, mine)
            found.append((trial.number, lowest))
    return found


def _range(name: str, domain: Domain, best: Trial, together: Sequence[Trial]) -> Range:
    values = [trial.params[name] for trial in together if name in trial.params]
    # Defaults may lie outside of what is searched: they are no part of its range.
    values = [each for each in values if within(domain, each)]
    if not values:
        return Range(name, best.params[name], [best.params[name]], False, text(best.params[name]))
    if isinstance(domain, Span):
        low, high = min(values), max(values)
        whole = _covers(domain, low, high)
        words = text(_short(low)) if low == high else f"{_short(low):g} ... {_short(high):g}"
        kept = sorted(set(values))
    else:
        # In the order in which they were listed.
        kept = [each for each in domain if text(each) in {text(value) for value in values}]
        whole = len(kept) == len(domain) > 1
        words = ", ".join(text(each) for each in kept)
    if whole:
        words += " (the whole range: not identified)"
    return Range(name, best.params[name], kept, whole, words)


def _end(search: SearchResult, found: Range) -> str | None:
    """``upper end (0.03)``; None for the middle, and for an end that is the option's own."""
    domain = search.space[found.name]
    if not within(domain, found.best):
        return None
    if not isinstance(domain, Span):
        numbers = all(type(each) in (int, float) for each in domain)
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
        return text(value) in {text(each) for each in domain}
    return value is not None and domain.low <= value <= domain.high


def _covers(span: Span, low: float, high: float) -> bool:
    if span.high <= span.low:
        return False
    if span.step and (span.high - span.low) / span.step <= 1 / (1 - WHOLE):
        # Of few steps every one counts.
        near = span.step / 2
        return low - span.low < near and span.high - high < near
    scale = math.log if span.log else float
    return (scale(high) - scale(low)) >= WHOLE * (scale(span.high) - scale(span.low))


def _short(number: float) -> float:
    return float(f"{number:.3g}")


def settings_of(params: Mapping[str, Any]) -> str:
    """``leadership=0.7 lr=0.00312``."""
    return " ".join(
        f"{name}={text(_short(each) if isinstance(each, float) else each)}"
        for name, each in params.items()
    )
