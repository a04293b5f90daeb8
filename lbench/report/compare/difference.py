"""A cell against the first one: over common seeds, and over the test examples of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lbench.report.compare.kept import Kept, NotKeptError
from lbench.report.compare.row import Pairs, Row
from lbench.statistics.intervals import Summary
from lbench.statistics.multiple import LEVEL

if TYPE_CHECKING:
    from lbench.statistics.examples import Examples

# SciPy is imported where it is used: ``lbench run`` shares rows and works without it.


@dataclass(frozen=True, slots=True)
class Tested:
    """A test of a difference.

    Args:
        p: two-sided; None where there was no test.
        holm: the same, adjusted for all differences of the table.
        reason: why there was none.
    """

    p: float | None
    holm: float | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"p": self.p, "p_holm": self.holm, "reason": self.reason}

    def word(self, points: float) -> str:
        """``lower`` or ``higher`` where the adjusted p is at most 5 %, else ``undecided``.

        "" where there was no test.
        """
        if self.holm is None:
            return ""
        return "undecided" if self.holm > LEVEL else "lower" if points < 0 else "higher"


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell against the first one.

    Args:
        error: the mean difference in points, over the seeds that both have finished; None
            without common seeds, or on other data.
        reason: why there is none.
        t_test: paired, over these seeds.
        wilcoxon: signed ranks, likewise.
        examples: the difference over the test examples, for the seeds of which both kept their
            predictions; None where there are none.
        mcnemar: over these examples.
        seeds: these seeds.
    """

    row: Row
    error: Summary | None
    reason: str | None
    t_test: Tested
    wilcoxon: Tested
    examples: Examples | None
    mcnemar: Tested
    seeds: Sequence[int] = ()

    @property
    def seeds_say(self) -> str:
        """The t test in a word; "" without one."""
        return self.t_test.word(self.error.mean) if self.error else ""

    @property
    def examples_say(self) -> str:
        """McNemar's test in a word; "" without one."""
        return self.mcnemar.word(self.examples.points) if self.examples else ""

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "test_error": self.error and self.error.as_dict(),
            "reason": self.reason,
            "t_test": self.t_test.as_dict(),
            "wilcoxon": self.wilcoxon.as_dict(),
            "examples": self.examples and _as_dict(self.examples, self.seeds),
            "mcnemar": {
                **self.mcnemar.as_dict(),
                "p_mid": self.examples.p_mid if self.examples else None,
            },
        }


def differences(rows: Sequence[Row], pairs: Pairs) -> list[Difference]:
    """Each cell but the first against the first, with p adjusted for how many there are."""
    kept = Kept(pairs)
    found = [_difference(row, rows[0], kept) for row in rows[1:]]
    t_tests = _adjusted([each.t_test for each in found])
    wilcoxons = _adjusted([each.wilcoxon for each in found])
    mcnemars = _adjusted([each.mcnemar for each in found])
    return [
        replace(each, t_test=t_test, wilcoxon=wilcoxon, mcnemar=mcnemar)
        for each, t_test, wilcoxon, mcnemar in zip(found, t_tests, wilcoxons, mcnemars, strict=True)
    ]


def _adjusted(tests: Sequence[Tested]) -> list[Tested]:
    from lbench.statistics.multiple import holm

    adjusted = holm([test.p for test in tests])
    return [replace(test, holm=p) for test, p in zip(tests, adjusted, strict=True)]


def _difference(row: Row, first: Row, kept: Kept) -> Difference:
    """``row`` minus ``first``, paired by seed and by example."""
    from lbench.statistics.paired_tests import paired_tests

    if row.cell.data_digest != first.cell.data_digest:
        return _none(row, "other data, so there is nothing to pair")
    over_seeds = paired_tests(row.errors, first.errors, row.step)
    if over_seeds is None:
        return _none(row, "no seed is finished in both")
    examples, seeds, why = _over_examples(row, first, kept)
    return Difference(
        row,
        over_seeds.difference,
        None,
        Tested(over_seeds.p, reason=over_seeds.reason),
        Tested(over_seeds.wilcoxon, reason=over_seeds.wilcoxon_reason),
        examples,
        Tested(examples.p if examples else None, reason=why),
        seeds,
    )


def _none(row: Row, reason: str) -> Difference:
    untested = Tested(None)
    return Difference(row, None, reason, untested, untested, None, untested)


def _over_examples(
    row: Row, first: Row, kept: Kept
) -> tuple[Examples | None, Sequence[int], str | None]:
    """The difference, the seeds that it is of, and why it is none."""
    import numpy as np

    from lbench.statistics.examples import examples

    mine, theirs, seeds, why = [], [], [], None
    for seed in sorted(row.errors.keys() & first.errors.keys()):
        try:
            both = kept.right(row.cell, seed), kept.right(first.cell, seed)
        except NotKeptError as missing:
            why = why or str(missing)
            continue
        mine.append(both[0])
        theirs.append(both[1])
        seeds.append(seed)
    if not seeds:
        return None, (), why
    return examples(np.stack(mine), np.stack(theirs)), seeds, None


def _as_dict(examples: Examples, seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "n": examples.n,
        "seeds": list(seeds),
        "points": examples.points,
        "ci95": None if examples.low is None else [examples.low, examples.high],
        "reason": examples.reason,
        "worse": examples.worse,
        "better": examples.better,
    }
