"""Arms held against each other: against a control, in their order, and a rule beside a rule."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.effects import effects
from lbench.report.compare import mean
from lbench.report.contrasts import Contrast, adjusted, contrast, tally
from lbench.report.lines import Group, Line, error_of, groups
from lbench.studies.results import Results


def followers(results: Results) -> Answer:
    """Every cell against the first arm, and each two-valued axis: does it help at all."""
    margin = results.study.margin
    found: list[tuple[Group, Line, list[Contrast]]] = []
    for group in groups(results):
        control = _control(group)
        if control is not None:
            others = [line for line in group.known if line is not control]
            found.append(
                (group, control, adjusted([contrast(line, control, margin) for line in others]))
            )
    every = [each for _, _, contrasts in found for each in contrasts]
    if not every:
        return Answer(f"{UNDECIDED}: the control and another cell need finished runs.")
    sentence = ". ".join(capital(_against(*each)) for each in found[:4]) + "."
    made = effects(results)
    details = [f"{capital(effect.words)}." for effect in made]
    details += [f"{capital(each.words)}." for each in every]
    return Answer(
        sentence,
        details,
        {
            "contrasts": [each.as_dict() for each in every],
            "effects": [effect.as_dict() for effect in made],
        },
    )


def ablation(results: Results) -> Answer:
    """The arms in the order of their error, and which neighbours can be told apart."""
    found = [(group, *_ordered(group)) for group in groups(results) if len(group.known) > 1]
    if not found:
        return Answer(f"{UNDECIDED}: two arms need finished runs.")
    sentence = ". ".join(capital(f"on {g.title}: {order}") for g, order, _ in found[:4]) + "."
    sentence += " (< told apart, ~ not; all pairs, Holm.)"
    details = [f"{capital(each.words)}." for _, _, contrasts in found for each in contrasts]
    data: dict[str, Any] = {
        "orders": [
            {"where": g.title, "order": order, "contrasts": [c.as_dict() for c in contrasts]}
            for g, order, contrasts in found
        ]
    }
    return Answer(sentence, details, data)


def _control(group: Group) -> Line | None:
    """The line of the study's first arm."""
    return next((line for line in group.known if line.final.point.arm == 0), None)


def _against(group: Group, control: Line, contrasts: Sequence[Contrast]) -> str:
    lower = [each.name for each in contrasts if each.verdict == "lower"]
    equal = [each for each in contrasts if each.verdict == "equal"]
    higher = [each for each in contrasts if each.verdict == "higher"]
    open_ones = len(contrasts) - len(lower) - len(equal) - len(higher)
    words = f"on {group.title}, against {control.title} ({error_of(control)}), "
    if lower:
        words += f"{len(lower)} of {len(contrasts)} cells have a lower error: {joined(lower)}"
    elif open_ones:
        words += f"no cell has a lower error, and {open_ones} of {len(contrasts)} are undecided"
    else:
        words += f"none of {len(contrasts)} cells has a lower error"
    return f"{words} ({tally(contrasts)})"


def _ordered(group: Group) -> tuple[str, list[Contrast]]:
    order = sorted(group.known, key=lambda line: mean(line.row.test) or 0.0)
    pairs = [(a, b) for at, a in enumerate(order) for b in order[at + 1 :]]
    contrasts = adjusted([contrast(a, b) for a, b in pairs])
    known = {(a.title, b.title): c for (a, b), c in zip(pairs, contrasts, strict=True)}
    words = f"{order[0].title} ({error_of(order[0])})"
    for a, b in itertools.pairwise(order):
        sign = "<" if known[a.title, b.title].verdict == "lower" else "~"
        words += f" {sign} {b.title} ({error_of(b)})"
    return words, contrasts
