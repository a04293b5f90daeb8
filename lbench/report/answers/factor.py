"""Whether one setting matters with everything else the same: its effect, or that it is none."""

from __future__ import annotations

from typing import Any

from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.series import Series, axes, series
from lbench.report.contrasts import Contrast, adjusted, contrast
from lbench.report.lines import Line
from lbench.report.table import signed, text
from lbench.studies.results import Results


def factor(results: Results) -> Answer:
    """Every value of the first axis against the rule's default, in each of the other settings."""
    names = axes(results)
    found = series(results, names[0]) if names else []
    if not found:
        return Answer(f"{UNDECIDED}: no two values of an axis have a finished run.")
    margin = results.study.margin
    told = [(each, *_contrasts(each, margin)) for each in found]
    words = [_sentence(each, base, contrasts) for each, base, contrasts in told]
    verdicts = [_verdict(contrasts) for _, _, contrasts in told]
    axis = names[0]
    counts = {name: verdicts.count(name) for name in ("matters", "does not matter", "undecided")}
    if len(found) == 1:
        return Answer(capital(words[0]) + ".", _details(told), {"series": _data(told)})
    said = [f"it {name} in {n}" for name, n in counts.items() if n and name != "undecided"]
    if counts["undecided"]:
        said.append(f"it is undecided in {counts['undecided']}")
    sentence = f"{capital(axis)}: of {len(found)} settings {joined(said)}."
    return Answer(
        sentence, [*(capital(each) + "." for each in words), *_details(told)],
        {"series": _data(told)},
    )  # fmt: skip


def _contrasts(each: Series, margin: float | None) -> tuple[Line, list[Contrast]]:
    base = _base(each)
    others = [line for line in each.lines if line is not base]
    return base, adjusted([contrast(line, base, margin) for line in others])


def _base(each: Series) -> Line:
    """The line at the rule's default, or at the first value."""
    rule = each.lines[0].final.point.rule
    field = registry().load("rules", rule).Config.model_fields.get(each.axis)
    for value, line in zip(each.values, each.lines, strict=True):
        if field is not None and value == field.default:
            return line
    return each.lines[0]


def _verdict(contrasts: list[Contrast]) -> str:
    verdicts = {each.verdict for each in contrasts}
    if verdicts & {"lower", "higher"}:
        return "matters"
    return "does not matter" if verdicts == {"equal"} else "undecided"


def _sentence(each: Series, base: Line, contrasts: list[Contrast]) -> str:
    known = [c for c in contrasts if c.points is not None]
    if not known:
        return f"{each.title}: undecided, no seed is finished in two cells"
    largest = max(known, key=lambda c: abs(c.points.mean) if c.points else 0.0)
    verdict = _verdict(contrasts)
    margin = contrasts[0].margin
    words = f"{each.title}: {each.axis} {verdict}"
    if verdict == "undecided":
        words = f"{each.title}: whether {each.axis} matters is undecided"
    if verdict == "does not matter" and margin:
        words += f" within {margin:g} points"
    if largest.points is not None:
        points = largest.points
        words += f"; the largest effect is {signed(points.mean, points.low, points.high)} points"
        words += f" (n = {points.n}), from {each.at(base)} to "
        line = next(line for line in each.lines if largest.name in (line.title, line.whole))
        words += text(each.values[list(each.lines).index(line)])
    return words


def _details(told: list[tuple[Series, Line, list[Contrast]]]) -> list[str]:
    return [f"{capital(c.words)}." for _, _, contrasts in told for c in contrasts]


def _data(told: list[tuple[Series, Line, list[Contrast]]]) -> list[dict[str, Any]]:
    return [
        {
            "series": each.name,
            "where": each.where,
            "axis": each.axis,
            "base": each.at(base),
            "verdict": _verdict(contrasts),
            "contrasts": [c.as_dict() for c in contrasts],
        }
        for each, base, contrasts in told
    ]
