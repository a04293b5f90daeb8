"""Differences to the first configuration as a table: over seeds, and over test examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbench.output.table import NONE, Table, out_of, signed
from lbench.report.compare import RowDifference

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


def probability(p: float | None) -> str:
    """Return ``0.0312``; ``<0.0001``; a dash for None."""
    return NONE if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _row(number: int, entry: RowDifference) -> list[str]:
    seeds, examples = entry.over_seeds, entry.examples
    points = seeds.points
    return [
        f"{number} minus 1",
        seeds.text or NONE,
        str(points.n) if points else NONE,
        probability(seeds.t_test.holm),
        probability(seeds.wilcoxon.holm),
        entry.seeds_say or NONE,
        signed(examples.points, examples.low, examples.high) if examples else NONE,
        f"{examples.n:,}" if examples else NONE,
        out_of(len(entry.seeds), points.n) if points and examples else NONE,
        probability(entry.mcnemar.holm),
        entry.examples_say or NONE,
    ]


def _reasons(what: str, reasons: Iterable[str | None]) -> list[str]:
    """Return a line per reason, with the numbers of the rows that it holds for."""
    numbers: dict[str, list[str]] = {}
    for number, reason in enumerate(reasons, start=2):
        if reason:
            numbers.setdefault(reason, []).append(str(number))
    return [f"{', '.join(some)} minus 1: {what}: {reason}." for reason, some in numbers.items()]
