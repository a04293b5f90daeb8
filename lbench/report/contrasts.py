"""Two cells held against each other, paired by seed, with what follows within a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbench.report.lines import Line
from lbench.report.table import signed
from lbench.statistics.equivalence import EQUIVALENT, paired_equivalence
from lbench.statistics.intervals import Summary
from lbench.statistics.multiple import LEVEL, holm
from lbench.statistics.paired_tests import paired_tests


@dataclass(frozen=True, slots=True)
class Contrast:
    """One thing minus another, in points of test error.

    Args:
        name: of the first.
        other: of the second.
        points: the mean difference with its interval; None without common seeds.
        p: of the paired test, adjusted where several were made; None with too few seeds.
        equal: whether the difference lies within the margin, by two one-sided tests; None
            without a margin or with too few seeds.
        margin: in points, stated in advance.
        many: whether p was adjusted for several contrasts.
    """

    name: str
    other: str
    points: Summary | None
    p: float | None
    equal: bool | None
    margin: float | None
    many: bool = False

    @property
    def verdict(self) -> str:
        """``lower``, ``higher``, ``equal`` within the margin, or ``undecided``.

        A difference that is there and yet lies within the margin is ``equal``: the margin was
        stated as what does not matter.
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
        """``a is lower than b by 0.31 points [0.10, 0.52], n = 5, p = 0.004``."""
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
    def numbers(self) -> str:
        """``-0.31 points [-0.52, -0.10], n = 5, p = 0.004 by Holm``; "" without a common seed."""
        if self.points is None:
            return ""
        words = f"{signed(self.points.mean, self.points.low, self.points.high)} points"
        words += f", n = {self.points.n}"
        if self.p is not None:
            words += f", p = {self.p:.2g}" + (" by Holm" if self.many else "")
        return words

    def as_dict(self) -> dict[str, Any]:
        """As ``answer.json`` has it."""
        return {
            "name": self.name,
            "other": self.other,
            "points": self.points and self.points.as_dict(),
            "p": self.p,
            "equal": self.equal,
            "margin": self.margin,
            "verdict": self.verdict,
        }


def contrast(first: Line, second: Line, margin: float | None = None) -> Contrast:
    """Two cells, by their test errors."""
    names = (first.title, second.title)
    if first.task != second.task:
        names = (first.whole, second.whole)
    return paired_contrast(first.row.errors, second.row.errors, *names, margin, first.row.step)


def paired_contrast(
    first: Mapping[int, float],
    second: Mapping[int, float],
    name: str,
    other: str,
    margin: float | None = None,
    step: float = 0.0,
) -> Contrast:
    """Two sets of values by seed; ``step`` as of ``paired_tests.paired_tests``."""
    found = paired_tests(first, second, step)
    if found is None:
        return Contrast(name, other, None, None, None, margin)
    equal = None
    if margin:
        same = paired_equivalence(first, second, margin, step)
        if same is not None and (same.p is not None or same.verdict == EQUIVALENT):
            equal = same.verdict == EQUIVALENT
    return Contrast(name, other, found.difference, found.p, equal, margin)


def adjusted(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The same with their p adjusted for how many they are (Holm 1979)."""
    found = holm([each.p for each in contrasts])
    many = sum(p is not None for p in found) > 1
    return [replace(each, p=p, many=many) for each, p in zip(contrasts, found, strict=True)]


def tally(contrasts: Sequence[Contrast]) -> str:
    """``2 lower, 1 equal, 3 undecided``."""
    verdicts = [each.verdict for each in contrasts]
    names = ("lower", "equal", "higher", "undecided")
    return ", ".join(f"{n} {name}" for name in names if (n := verdicts.count(name))) or "none"
