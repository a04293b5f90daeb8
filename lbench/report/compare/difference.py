"""Configurations minus the first one, over common seeds and over test examples, with a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lbench.output.table import NONE, Table, out_of, p_value, signed
from lbench.report.compare.row import Row
from lbench.report.differences import (
    NOT_MADE,
    Difference,
    Significance,
    adjusted,
    by_holm,
    paired_difference,
)
from lbench.store.predictions import MissingError, Predictions
from lbench.store.rows import Pairs

if TYPE_CHECKING:
    from lbench.statistics.examples import Examples

# SciPy is imported where it is used: ``lbench run`` shares rows and works without it.

COLUMNS = (
    "", "points over seeds", "n", "t test p", "Wilcoxon p", "seeds say",
    "points over test examples", "n", "of seeds", "McNemar p", "examples say",
)  # fmt: skip
RIGHT = (1, 2, 3, 4, 6, 7, 8, 9)
LAYOUTS = (((0, 1, 2, 3, 4, 5), (0, 6, 7, 8, 9, 10)),)
"""The columns of seeds and those of examples, for a narrow terminal."""
MEANING = (
    "Over seeds: what other seeds would give. Over test examples: what these trained networks "
    "would give on other examples."
)


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A configuration minus the first one.

    Args:
        row: the configuration.
        over_seeds: the difference over the seeds that both have finished.
        reason: why there is none: no common seed, or other data.
        examples: the difference over the test examples, for the seeds whose predictions both
            have stored; None where there are none.
        mcnemar: the test over these examples.
        seeds: these seeds.
    """

    row: Row
    over_seeds: Difference
    reason: str | None = None
    examples: Examples | None = None
    mcnemar: Significance = NOT_MADE
    seeds: Sequence[int] = ()

    @property
    def seeds_say(self) -> str:
        """Return the t test in a word; "" without one."""
        points = self.over_seeds.points
        return self.over_seeds.t_test.word(points.mean) if points else ""

    @property
    def examples_say(self) -> str:
        """Return McNemar's test in a word; "" without one."""
        return self.mcnemar.word(self.examples.points) if self.examples else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        seeds, examples = self.over_seeds, self.examples
        return {
            "test_error": seeds.points and seeds.points.as_dict(),
            "reason": self.reason,
            "t_test": seeds.t_test.as_dict(),
            "wilcoxon": seeds.wilcoxon.as_dict(),
            "examples": examples
            and {
                "n": examples.n,
                "seeds": list(self.seeds),
                "points": examples.points,
                "ci95": None if examples.low is None else [examples.low, examples.high],
                "reason": examples.reason,
                "worse": examples.worse,
                "better": examples.better,
            },
            "mcnemar": {**self.mcnemar.as_dict(), "p_mid": examples.p_mid if examples else None},
        }


def differences(rows: Sequence[Row], pairs: Pairs) -> list[RowDifference]:
    """Return each row but the first minus the first, with p adjusted for their number."""
    predictions = Predictions(pairs)
    found = [_difference(row, rows[0], predictions) for row in rows[1:]]
    over_seeds = adjusted([difference.over_seeds for difference in found])
    mcnemars = by_holm([difference.mcnemar for difference in found])
    return [
        replace(difference, over_seeds=seeds, mcnemar=mcnemar)
        for difference, seeds, mcnemar in zip(found, over_seeds, mcnemars, strict=True)
    ]


def table(differences: Sequence[RowDifference]) -> Table:
    """Return a row per difference, with notes on the columns; p-values are the adjusted ones."""
    rows = [_row(number, entry) for number, entry in enumerate(differences, start=2)]
    below = notes(differences) if differences else []
    return Table("", COLUMNS, rows, RIGHT, notes=below, layouts=LAYOUTS)


def notes(differences: Sequence[RowDifference]) -> list[str]:
    """Return the meaning of the columns, and the reasons why some are empty."""
    lines = [MEANING]
    if len(differences) > 1:
        lines.append("p-values are adjusted over the tests of each column (Holm).")
    for what, reasons in (
        ("no difference", [d.reason for d in differences]),
        ("no t test", [d.over_seeds.t_test.reason for d in differences]),
        ("no Wilcoxon test", [d.over_seeds.wilcoxon.reason for d in differences]),
        ("nothing over test examples", [d.mcnemar.reason for d in differences]),
        ("no interval over test examples",
         [d.examples.reason if d.examples else None for d in differences]),
    ):  # fmt: skip
        lines += _reasons(what, reasons)
    for number, entry in enumerate(differences, start=2):
        points = entry.over_seeds.points
        if points and entry.seeds and len(entry.seeds) < points.n:
            lines.append(
                f"{number} minus 1 over test examples: of {len(entry.seeds)} of {points.n} "
                "common seeds, the others keep no predictions."
            )
    return lines


def _row(number: int, entry: RowDifference) -> list[str]:
    seeds, examples = entry.over_seeds, entry.examples
    points = seeds.points
    return [
        f"{number} minus 1",
        seeds.text or NONE,
        str(points.n) if points else NONE,
        p_value(seeds.t_test.holm),
        p_value(seeds.wilcoxon.holm),
        entry.seeds_say or NONE,
        signed(examples.points, examples.low, examples.high) if examples else NONE,
        f"{examples.n:,}" if examples else NONE,
        out_of(len(entry.seeds), points.n) if points and examples else NONE,
        p_value(entry.mcnemar.holm),
        entry.examples_say or NONE,
    ]


def _reasons(what: str, reasons: Iterable[str | None]) -> list[str]:
    """Return a line per reason, with the numbers of the rows that it holds for."""
    numbers: dict[str, list[str]] = {}
    for number, reason in enumerate(reasons, start=2):
        if reason:
            numbers.setdefault(reason, []).append(str(number))
    return [f"{', '.join(some)} minus 1: {what}: {reason}." for reason, some in numbers.items()]


def _difference(row: Row, first: Row, predictions: Predictions) -> RowDifference:
    """Return ``row`` minus ``first``, paired by seed and by example."""
    names = row.cell.cell_id, first.cell.cell_id
    if row.cell.data_digest != first.cell.data_digest:
        return RowDifference(
            row,
            Difference(*names, None, NOT_MADE, NOT_MADE),
            "other data, so there is nothing to pair",
        )
    over_seeds = paired_difference(row.errors, first.errors, *names, step=row.step)
    if over_seeds.points is None:
        return RowDifference(row, over_seeds, "no seed is finished in both")
    examples, seeds, reason = _over_examples(row, first, predictions)
    mcnemar = Significance(examples.p if examples else None, reason=reason)
    return RowDifference(row, over_seeds, None, examples, mcnemar, seeds)


def _over_examples(
    row: Row, first: Row, predictions: Predictions
) -> tuple[Examples | None, Sequence[int], str | None]:
    """Return the difference over test examples, its seeds, and the reason where there is none."""
    import numpy as np

    from lbench.statistics.examples import examples

    both, seeds, reason = [], [], None
    for seed in sorted(row.errors.keys() & first.errors.keys()):
        try:
            both.append((predictions.right(row.cell, seed), predictions.right(first.cell, seed)))
            seeds.append(seed)
        except MissingError as missing:
            reason = reason or str(missing)
    if not seeds:
        return None, (), reason
    ours, theirs = zip(*both, strict=True)
    return examples(np.stack(ours), np.stack(theirs)), seeds, None
