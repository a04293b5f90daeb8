"""Which lines of a group have the lowest error, and how each differs from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbench.report.differences import Difference, adjusted, paired_difference
from lbench.report.lines import Group, Line, groups
from lbench.statistics.best import MCNEMAR, PROPORTIONS, SOME_SEEDS, WELCH, BestSet, best_set
from lbench.statistics.examples import Right
from lbench.store.predictions import MissingError, Predictions
from lbench.studies.results import StudyData

SET = "the lowest error and what is indistinguishable from it"
"""The name of the best set in tables, figures and answers: not every member of it is good."""
OVER_EXAMPLES = {
    MCNEMAR: "McNemar's test on the test examples",
    SOME_SEEDS: "McNemar's test for those seeds alone whose predictions were kept",
    PROPORTIONS: "two proportions of the test examples, for predictions are lost",
}
"""Tests over test examples, in words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the runs of a group decide.

    Args:
        reference: the first line with a finished seed, with which the others are compared.
        against: per line its difference to the reference; None for the reference itself, and
            where no seed is finished in both.
        best: the lines that are indistinguishable from the lowest error, that one first.
        method: which tests decided.
    """

    reference: Line | None
    against: Sequence[Difference | None]
    best: Sequence[Line]
    method: str


Judged = tuple[Group, Verdict]


def verdicts(results: StudyData) -> list[Judged]:
    """Return the groups of a study, each with what its runs decide."""
    return [(group, verdict(group.lines)) for group in groups(results)]


def verdict(lines: Sequence[Line]) -> Verdict:
    """Return which lines have the lowest error, and how all differ from the first with an error."""
    known = [line for line in lines if line.row.test]
    if not known:
        return Verdict(None, [None] * len(lines), [], "")
    predictions = Predictions([(line.row.cell, line.final.runs) for line in known])

    def right(at: int, seed: int) -> Right | None:
        try:
            return predictions.right(known[at].row.cell, seed)
        except MissingError:
            return None

    best = best_set([line.row.errors for line in known], known[0].row.cell.test_examples, right)
    others = [known[at] for at in best.members if at != best.lowest]
    entries = iter(differences(lines, known[0]))
    against = [None if line is known[0] else next(entries) for line in lines]
    against = [entry if entry and entry.points else None for entry in against]
    return Verdict(known[0], against, [known[best.lowest], *others], _method(best))


def difference(first: Line, second: Line, margin: float | None = None) -> Difference:
    """Return the difference of the test errors of two lines, paired by seed."""
    a, b = (line.title if first.task == second.task else line.whole for line in (first, second))
    return paired_difference(first.row.errors, second.row.errors, a, b, margin, first.row.step)


def differences(lines: Sequence[Line], base: Line, margin: float | None = None) -> list[Difference]:
    """Return each line but ``base`` minus ``base``, with p adjusted for their number."""
    return adjusted([difference(line, base, margin) for line in lines if line is not base])


def _method(best: BestSet) -> str:
    """Return which tests decided, in words; "" where there was nothing to compare."""
    methods = {test.method for test in best.tests if test is not None}
    if not methods:
        return ""
    over_seeds = "paired t tests against the lowest mean over common seeds"
    if WELCH in methods:
        over_seeds += " (Welch's where configurations have other seeds)"
    over_examples = [words for name, words in OVER_EXAMPLES.items() if name in methods]
    if not over_examples:
        return f"{over_seeds}, Holm-adjusted, 5 %"
    words = f"{' and '.join(over_examples)}, Holm-adjusted, 5 %"
    which = "seeds are fewer than three or do not spread, so they"
    if methods <= OVER_EXAMPLES.keys():
        return f"{words} ({which} cannot decide, and nothing is said of other seeds)"
    return f"{over_seeds}; where {which} cannot decide, {words}"
