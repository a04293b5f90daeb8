"""Arms against a control, and arms in the order of their error."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from lbench.report.answers.answer import SHOWN, UNDECIDED, Answer, joined, sentences
from lbench.report.answers.effects import effects
from lbench.report.differences import Difference, adjusted, tally
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.verdict import difference, differences
from lbench.studies.results import StudyResults


def followers(results: StudyResults) -> Answer:
    """Compare every configuration with the first arm, and the two values of each such axis."""
    compared: list[tuple[Group, Line, list[Difference]]] = []
    for group in groups(results):
        control = next((line for line in group.known if line.final.point.arm == 0), None)
        if control is not None:
            found = differences(group.known, control, results.study.margin)
            compared.append((group, control, found))
    every = [entry for _, _, found in compared for entry in found]
    if not every:
        return Answer(f"{UNDECIDED}: the control and another configuration need finished runs.")
    averages = effects(results)
    return Answer(
        " ".join(sentences([_against(*entry) for entry in compared[:SHOWN]])),
        sentences([effect.words for effect in averages] + [entry.words for entry in every]),
        {
            "contrasts": [entry.as_dict() for entry in every],
            "effects": [effect.as_dict() for effect in averages],
        },
    )


def ablation(results: StudyResults) -> Answer:
    """State the arms in the order of their error, and which neighbours are distinguished."""
    ordered = [(group, *_ordered(group)) for group in groups(results) if len(group.known) > 1]
    if not ordered:
        return Answer(f"{UNDECIDED}: two arms need finished runs.")
    texts = [f"on {group.title}: {order}" for group, order, _ in ordered]
    sentence = " ".join(sentences(texts[:SHOWN]))
    orders = [
        {"where": g.title, "order": order, "contrasts": [entry.as_dict() for entry in found]}
        for g, order, found in ordered
    ]
    return Answer(
        f"{sentence} (< significant, ~ not; all pairs, Holm.)",
        sentences([entry.words for _, _, found in ordered for entry in found]),
        {"orders": orders},
    )


def _against(group: Group, control: Line, found: Sequence[Difference]) -> str:
    lower = [entry.name for entry in found if entry.verdict == "lower"]
    undecided = sum(entry.verdict == "undecided" for entry in found)
    words = f"on {group.title}, against {control.title} ({error_of(control)}), "
    if lower:
        words += f"{len(lower)} of {len(found)} configurations have a lower error: {joined(lower)}"
    elif undecided:
        words += (
            f"no configuration has a lower error, and {undecided} of {len(found)} are undecided"
        )
    else:
        words += f"none of {len(found)} configurations has a lower error"
    return f"{words} ({tally(found)})"


def _ordered(group: Group) -> tuple[str, list[Difference]]:
    order = sorted(group.known, key=lambda line: line.error)
    pairs = list(itertools.combinations(order, 2))
    found = adjusted([difference(*pair) for pair in pairs])
    known = {(a.title, b.title): entry for (a, b), entry in zip(pairs, found, strict=True)}
    words = f"{order[0].title} ({error_of(order[0])})"
    for a, b in itertools.pairwise(order):
        sign = "<" if known[a.title, b.title].verdict == "lower" else "~"
        words += f" {sign} {b.title} ({error_of(b)})"
    return words, found
