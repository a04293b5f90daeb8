"""One thing minus another, paired by seed: the difference, its tests, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbench.output.table import p_words, signed
from lbench.statistics.intervals import Summary
from lbench.statistics.multiple import LEVEL, holm

# SciPy is imported where it is used: ``lbench run`` shares rows and works without it.


@dataclass(frozen=True, slots=True)
class Significance:
    """A test of a difference.

    Args:
        p: two-sided; None where there was no test.
        holm: the same, adjusted for all tests of its kind in a table or an answer.
        reason: why there was none.
    """

    p: float | None
    holm: float | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {"p": self.p, "p_holm": self.holm, "reason": self.reason}

    def word(self, points: float) -> str:
        """Return ``lower`` or ``higher`` where the adjusted p is at most 5 %, else ``undecided``.

        "" where there was no test.
        """
        if self.holm is None:
            return ""
        return "undecided" if self.holm > LEVEL else "lower" if points < 0 else "higher"


NOT_MADE = Significance(None)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing minus another, paired by seed, in points of test error.

    Args:
        name: of the first.
        other: of the second.
        points: the mean difference with its interval; None without common seeds.
        t_test: paired, over the common seeds.
        wilcoxon: signed ranks, over the same seeds.
        equal: whether the difference is within the margin, by two one-sided tests; None
            without a margin or with too few seeds.
        margin: in points, stated in advance.
        many: whether p was adjusted for several differences.
    """

    name: str
    other: str
    points: Summary | None
    t_test: Significance
    wilcoxon: Significance
    equal: bool | None = None
    margin: float | None = None
    many: bool = False

    @property
    def p(self) -> float | None:
        """Return the p of the t test, adjusted where several were made; None without a test."""
        return self.t_test.p if self.t_test.holm is None else self.t_test.holm

    @property
    def verdict(self) -> str:
        """Return ``lower``, ``higher``, ``equal`` within the margin, or ``undecided``.

        A significant difference within the margin is ``equal``, because the margin was stated as
        what does not matter.
        """
        if self.points is None:
            return "undecided"
        if self.equal:
            return "equal"
        if self.p is not None and self.p <= LEVEL:
            return "lower" if self.points.mean < 0 else "higher"
        return "undecided"

    @property
    def words(self) -> str:
        """Return the verdict as text: ``a has a lower error than b (-0.31 points …)``."""
        if self.points is None:
            return f"{self.name} and {self.other}: undecided, no seed is finished in both"
        said = {
            "lower": f"{self.name} has a lower error than {self.other}",
            "higher": f"{self.name} has a higher error than {self.other}",
            "equal": f"{self.name} and {self.other} are equal within {self.margin or 0:g} points",
            "undecided": f"{self.name} against {self.other} is undecided",
        }
        return f"{said[self.verdict]} ({self.numbers})"

    @property
    def text(self) -> str:
        """Return ``-0.31 [-0.52, -0.10]``; "" without a common seed."""
        points = self.points
        return "" if points is None else signed(points.mean, points.low, points.high)

    @property
    def numbers(self) -> str:
        """Return ``-0.31 [-0.52, -0.10] points, n = 5, p = 0.004 by Holm``; "" without a seed."""
        if self.points is None:
            return ""
        words = f"{self.text} points, n = {self.points.n}"
        return words if self.p is None else f"{words}, {self.p_words}"

    @property
    def p_words(self) -> str:
        """Return ``p = 0.004 by Holm``, or ``p < 0.001``; "" without a test."""
        if self.p is None:
            return ""
        return p_words(self.p) + (" by Holm" if self.many else "")

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``answer.json`` has."""
        return {
            "name": self.name,
            "other": self.other,
            "points": self.points and self.points.as_dict(),
            "p": self.p,
            "equal": self.equal,
            "margin": self.margin,
            "verdict": self.verdict,
        }


def paired_difference(
    first: Mapping[int, float],
    second: Mapping[int, float],
    name: str,
    other: str,
    margin: float | None = None,
    step: float = 0.0,
) -> Difference:
    """Return ``first - second``, two sets of values by seed, over the seeds that both have.

    Args:
        first: a value per seed.
        second: a value per seed.
        name: of the first.
        other: of the second.
        margin: differences within it count as equal; None for no such test.
        step: the least distance of two possible values, as in ``paired_tests.paired_tests``.
    """
    from lbench.statistics.equivalence import EQUIVALENT, paired_equivalence
    from lbench.statistics.paired_tests import paired_tests

    tests = paired_tests(first, second, step)
    if tests is None:
        return Difference(name, other, None, NOT_MADE, NOT_MADE, margin=margin)
    equal = None
    if margin:
        same = paired_equivalence(first, second, margin, step)
        if same is not None and (same.p is not None or same.verdict == EQUIVALENT):
            equal = same.verdict == EQUIVALENT
    t_test = Significance(tests.p, reason=tests.reason)
    wilcoxon = Significance(tests.wilcoxon, reason=tests.wilcoxon_reason)
    return Difference(name, other, tests.difference, t_test, wilcoxon, equal, margin)


def adjusted(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences with the p of each test adjusted for their number (Holm 1979)."""
    t_tests = by_holm([difference.t_test for difference in differences])
    wilcoxons = by_holm([difference.wilcoxon for difference in differences])
    many = sum(test.p is not None for test in t_tests) > 1
    return [
        replace(difference, t_test=t_test, wilcoxon=wilcoxon, many=many)
        for difference, t_test, wilcoxon in zip(differences, t_tests, wilcoxons, strict=True)
    ]


def by_holm(tests: Sequence[Significance]) -> list[Significance]:
    """Return the tests with their p adjusted for their number (Holm 1979)."""
    values = holm([test.p for test in tests])
    return [replace(test, holm=p) for test, p in zip(tests, values, strict=True)]


def tally(differences: Sequence[Difference]) -> str:
    """Return ``2 lower, 1 equal, 3 undecided``."""
    verdicts = [difference.verdict for difference in differences]
    names = ("lower", "equal", "higher", "undecided")
    return ", ".join(f"{n} {name}" for name in names if (n := verdicts.count(name))) or "none"
