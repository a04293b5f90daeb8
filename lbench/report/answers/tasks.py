"""How the order of rules changes with the task: with depth, with labels, with everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.best import error_of
from lbench.report.answers.series import Series, ascending, axes, series, span
from lbench.report.compare import mean
from lbench.report.contrasts import Contrast, adjusted, contrast
from lbench.report.figures.depth import by_block
from lbench.report.lines import Group, Line, groups
from lbench.report.measured import Measured, measured
from lbench.report.table import percent, signed, text
from lbench.report.verdict import SET, verdict
from lbench.study.results import Results


def depth(results: Results) -> Answer:
    """Whether a rule uses depth: some deeper network is better than the shallowest."""
    names = axes(results)
    found = [ascending(each) for each in series(results, names[-1])] if names else []
    if not found:
        return Answer(f"{UNDECIDED}: no two depths of a rule have finished runs.")
    told = [_deeper(each, results.study.margin) for each in found]
    by_verdict: dict[str, list[str]] = {}
    several = len({each.where for each in found}) > 1
    for each, said, contrasts in told:
        name = each.title if several else each.name
        by_verdict.setdefault(said, []).append(name + _gain(each, contrasts))
    sentence = "; ".join(f"{said}: {joined(names)}" for said, names in by_verdict.items())
    details = [
        f"{capital(each.title)}: "
        + ", ".join(
            f"{percent(mean(line.row.test))} % at {text(value)}"
            for value, line in zip(each.values, each.lines, strict=True)
        )
        + "."
        for each, _, _ in told
    ]
    details += [f"{capital(c.words)}." for _, _, contrasts in told for c in contrasts]
    details += [_probed(each) for each in measured(results, "linear")]
    data = [
        {
            "series": each.name,
            "where": each.where,
            "verdict": said,
            "contrasts": [c.as_dict() for c in contrasts],
        }
        for each, said, contrasts in told
    ]
    return Answer(capital(sentence) + ".", details, {"series": data})


def samples(results: Results) -> Answer:
    """Say which rules have the lowest error, or are not told apart from it, along each axis."""
    winners = {axis: found for axis in axes(results) if (found := _winners(results, axis))}
    if not winners:
        return Answer(f"{UNDECIDED}: at no value of an axis two cells have finished runs.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for axis, found in winners.items():
        for where, best in found.items():
            sentences.append(f"on {where} along {axis}, {_along(best)}")
            details += [
                f"{where}, {axis}={text(value)}: "
                + "; ".join(f"{line.name} {error_of(line)}" for line in lines)
                + "."
                for value, lines in best
            ]
            data.append(
                {
                    "axis": axis,
                    "where": where,
                    "best": {text(value): [line.name for line in lines] for value, lines in best},
                }
            )
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"axes": data})


def _winners(results: Results, axis: str) -> dict[str, list[tuple[Any, list[Line]]]]:
    """Return, by place and value, which rules have the lowest error or are not told apart."""
    cells: dict[str, dict[str, list[Line]]] = {}
    for group in groups(results):
        for line in group.known:
            if axis in line.final.point.values:
                # In words: a value may be a list, as of widths.
                value = text(line.final.point.values[axis])
                cells.setdefault(group.where, {}).setdefault(value, []).append(line)
    found: dict[str, list[tuple[Any, list[Line]]]] = {}
    for where, by_value in cells.items():
        for lines in by_value.values():
            if len({line.name for line in lines}) > 1:
                first = lines[0].final.point
                group = Group(first.dataset, first.network, {}, "", where, lines)
                best = list(verdict(group).best)
                found.setdefault(where, []).append((first.values[axis], best))
    return found


def _along(best: list[tuple[Any, list[Line]]]) -> str:
    by_set: dict[str, list[Any]] = {}
    for value, lines in best:
        words = joined(sorted(dict.fromkeys(line.name for line in lines)))
        by_set.setdefault(words, []).append(value)
    tried = [value for value, _ in best]
    if len(by_set) == 1:
        return f"{SET}: {next(iter(by_set))} everywhere ({span(tried, tried)})"
    parts = [f"{words} at {span(values, tried)}" for words, values in by_set.items()]
    return f"{SET} changes: " + "; ".join(parts)


def _gain(each: Series, contrasts: Sequence[Contrast]) -> str:
    """The largest gain that was told apart, with its interval."""
    lower = [c for c in contrasts if c.verdict == "lower" and c.points is not None]
    if not lower:
        return ""
    best = min(lower, key=lambda c: c.points.mean if c.points else 0.0)
    at = each.values[1 + list(contrasts).index(best)]
    points = best.points and signed(best.points.mean, best.points.low, best.points.high)
    return f" ({points} points from {text(each.values[0])} to {text(at)})"


def _probed(each: Measured) -> str:
    """Where a linear probe sees most."""
    errors = by_block(each)
    last = max(errors)
    best = min(errors, key=lambda block: errors[block].mean)
    place = "the input" if best < 0 else f"block {best + 1} of {last + 1}"
    words = f"{each.line.whole} on {each.group.where}: a linear probe errs least at {place}, "
    return (
        words + f"{percent(errors[best].mean)} %, and at the last {percent(errors[last].mean)} %."
    )


def _deeper(each: Series, margin: float | None) -> tuple[Series, str, list[Contrast]]:
    """What the larger values are to the smallest that has finished runs."""
    base, *others = each.lines
    contrasts = adjusted([contrast(line, base, margin) for line in others])
    verdicts = {c.verdict for c in contrasts}
    if "lower" in verdicts:
        said = f"a larger {each.axis} gives a lower error"
    elif verdicts <= {"higher"}:
        said = f"every larger {each.axis} gives a higher error"
    elif verdicts <= {"equal", "higher"}:
        said = f"a larger {each.axis} gives no lower error"
    else:
        said = f"whether {each.axis} is used is undecided"
    if each.smaller:
        said += f", counted from {each.at(base)}, for no run has finished at "
        said += joined([text(value) for value in each.smaller])
    return each, said, contrasts
