"""What rules forget, at equal plasticity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.contrasts import Contrast, adjusted, of_values
from lbench.report.figures.sequence import along_rates, best_of_each, in_numbers, matrices
from lbench.report.measured import Measured, by_place, measured
from lbench.report.table import percent
from lbench.statistics.continual import at_matched_plasticity
from lbench.statistics.intervals import interval
from lbench.study.results import Results

CONTROL = "bp"
Curve = dict[float, tuple[float, float]]
"""Learning error and forgetting, by learning rate."""


def forgetting(results: Results) -> Answer:
    """Each rule's forgetting against bp's where both learn a new task equally well."""
    recorded = measured(results, "tasks")
    found = [each for each in recorded if matrices(each)]
    lost = [text for each in recorded if (text := _lost(each))]
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded its errors on every task.", lost)
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for place, cells in by_place(found).items():
        words, entry = _matched(place, cells, results.study.margin)
        sentences.append(words)
        data.append(entry)
        details += [_best(each) for each in best_of_each(cells)]
    details += lost
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"datasets": data})


def curves(cells: Sequence[Measured]) -> dict[str, dict[int, Curve]]:
    """By what cells of one place are called without their learning rate, and by seed."""
    found: dict[str, dict[int, Curve]] = {}
    for name, rates in along_rates(cells).items():
        for rate, each in rates.items():
            for seed, known in in_numbers(each).items():
                if known.forgetting is not None:
                    curve = found.setdefault(name, {}).setdefault(seed, {})
                    curve[rate] = (known.learning_error, known.forgetting)
    return found


def _matched(
    place: str, cells: Sequence[Measured], margin: float | None
) -> tuple[str, dict[str, Any]]:
    by_rule = curves(cells)
    # The lowest learning error that every rule reaches with every seed.
    target = max(
        (min(learned for learned, _ in curve.values()) for seeds in by_rule.values()
         for curve in seeds.values()),
        default=0.0,
    )  # fmt: skip
    matched = {rule: _at(seeds, target) for rule, seeds in by_rule.items()}
    reached = [rule for rule, values in matched.items() if values]
    bp = [
        name
        for name, rates in along_rates(cells).items()
        if any(each.line.row.cell.rule == CONTROL for each in rates.values())
    ]
    control = next((rule for rule in [*bp, *reached] if rule in reached), "")
    others = [rule for rule in matched if rule != control]
    contrasts = adjusted(
        [of_values(matched[r], matched.get(control, {}), r, control, margin) for r in others]
    )
    words = f"on {place}, at a learning error of {percent(target)} %, which all rules reach: "
    words += "; ".join(_words(each, matched) for each in contrasts) or "there is one rule alone"
    data = {
        "where": place,
        "learning_error": target,
        "forgetting": {rule: dict(seeds) for rule, seeds in matched.items()},
        "contrasts": [each.as_dict() for each in contrasts],
    }
    return words, data


def _at(seeds: Mapping[int, Curve], target: float) -> dict[int, float]:
    found = {seed: at_matched_plasticity(curve, target) for seed, curve in seeds.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _words(each: Contrast, matched: Mapping[str, Mapping[int, float]]) -> str:
    if each.points is None:
        return f"{each.name} against {each.other} is undecided, they share no seed there"
    forgot = [
        f"{rule} {percent(interval(list(matched[rule].values())).mean)}"
        for rule in (each.name, each.other)
    ]
    said = {
        "lower": f"{each.name} forgets less than {each.other}",
        "higher": f"{each.name} forgets more than {each.other}",
        "equal": f"{each.name} and {each.other} forget equally within {each.margin or 0:g} points",
        "undecided": f"whether {each.name} forgets less than {each.other} is undecided",
    }
    return f"{said[each.verdict]} ({' and '.join(forgot)} points; difference {each.numbers})"


def _best(each: Measured) -> str:
    known = list(in_numbers(each).values())
    average = interval([c.average_error for c in known])
    learned = interval([c.learning_error for c in known])
    forgot = [c.forgetting for c in known if c.forgetting is not None]
    back = [c.backward_transfer for c in known if c.backward_transfer is not None]
    words = f"{each.line.title} on {each.group.title}: average error {percent(average.mean)} %"
    words += f" after the last task, learning error {percent(learned.mean)} %"
    if forgot and back:
        words += f", forgetting {percent(interval(forgot).mean)} points, backward transfer "
        words += f"{interval(back).mean:+.2f} points"
    return f"{words} ({len(known)} seeds; the rate with the lowest average error)."


def _lost(each: Measured) -> str:
    """Which seeds were left out; "" for none."""
    lost = [str(seed) for seed in sorted(each.tables.keys() - matrices(each).keys())]
    if not lost:
        return ""
    words = f"{each.line.title} on {each.group.title}: left out, for the errors on every task were "
    return f"{words}not recorded to the end: seed {joined(lost, most=10)}."
