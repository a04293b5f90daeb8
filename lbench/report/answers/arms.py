"""Arms against a control, the average effects of settings, and arms in the order of their error."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lbench.output.table import text
from lbench.report.answers.answer import SHOWN, UNDECIDED, Answer, joined, sentences
from lbench.report.answers.series import Series, axes, series
from lbench.report.differences import Difference, adjusted, paired_difference, tally
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.verdict import difference, differences
from lbench.studies.results import StudyData


def followers(results: StudyData) -> Answer:
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
    texts, averages = effects(results)
    return Answer(
        " ".join(sentences([_against(*entry) for entry in compared[:SHOWN]])),
        sentences(texts + [entry.words for entry in every]),
        {"differences": [entry.as_dict() for entry in every], "effects": averages},
    )


def ablation(results: StudyData) -> Answer:
    """State the arms in the order of their error, and which neighbours are distinguished."""
    ordered = [(group, *_ordered(group)) for group in groups(results) if len(group.known) > 1]
    if not ordered:
        return Answer(f"{UNDECIDED}: two arms need finished runs.")
    texts = [f"on {group.title}: {order}" for group, order, _ in ordered]
    sentence = " ".join(sentences(texts[:SHOWN]))
    orders = [
        {"where": g.title, "order": order, "differences": [entry.as_dict() for entry in found]}
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


def effects(results: StudyData) -> tuple[list[str], list[dict[str, Any]]]:
    """Return words and numbers on the effect of each axis with two values; p by Holm over all.

    It is the second value minus the first, as means over all pairs of configurations that differ
    in this setting alone.
    """
    setups: dict[tuple[str, str], list[Series]] = {}
    for entry in (entry for axis in axes(results) for entry in series(results, axis)):
        if len(entry.values) == 2:
            setups.setdefault((entry.axis, entry.where), []).append(entry)
    found = adjusted([_effect(pairs, results.study.margin) for pairs in setups.values()])
    texts, data = [], []
    for (axis, where), pairs, effect in zip(setups, setups.values(), found, strict=True):
        n = len(pairs)
        texts.append(f"on {where}, over {n} pairs of configurations: {effect.words}")
        data.append({"axis": axis, "where": where, "pairs": n, "difference": effect.as_dict()})
    return texts, data


def _effect(pairs: list[Series], margin: float | None) -> Difference:
    axis, (a, b) = pairs[0].axis, pairs[0].values
    first, second = ([entry.lines[at] for entry in pairs] for at in (0, 1))
    # The mean of several configurations changes by a fraction of one test example.
    step = first[0].row.step / len(pairs)
    names = f"{axis}={text(b)}", f"{axis}={text(a)}"
    return paired_difference(_means(second), _means(first), *names, margin, step)


def _means(lines: list[Line]) -> Mapping[int, float]:
    """Return the mean over configurations by seed, for the seeds that all have finished."""
    common = set.intersection(*(set(line.row.errors) for line in lines))
    return {seed: sum(line.row.errors[seed] for line in lines) / len(lines) for seed in common}
