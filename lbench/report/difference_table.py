"""Differences to the first cell as a table: what seeds say, and what test examples say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbench.report.compare import Difference
from lbench.report.table import NONE, Table, markdown, of, print_notes, print_parts, signed

COLUMNS = (
    "", "points over seeds", "n", "t test p", "Wilcoxon p", "seeds say",
    "points over test examples", "n", "of seeds", "McNemar p", "examples say",
)  # fmt: skip
RIGHT = (1, 2, 3, 4, 6, 7, 8, 9)
SEEDS, EXAMPLES = (0, 1, 2, 3, 4, 5), (0, 6, 7, 8, 9, 10)
MEANING = (
    "Over seeds: what other seeds would give. Over test examples: what these trained networks "
    "would give on other examples."
)


def show(differences: Sequence[Difference]) -> None:
    """Print the table on standard output; in a narrow terminal seeds, then examples."""
    if not differences:
        return
    print_parts(COLUMNS, cells(differences), [[SEEDS, EXAMPLES]], right=RIGHT)
    print_notes(notes(differences))


def table(differences: Sequence[Difference]) -> Table:
    """Return the differences as one table, with its notes."""
    below = notes(differences) if differences else []
    return Table("", COLUMNS, cells(differences), RIGHT, notes=below)


def to_markdown(differences: Sequence[Difference]) -> list[str]:
    """The same in GitHub's markdown, in paragraphs; none of no difference."""
    if not differences:
        return []
    below = "\n".join(f"- {note}" for note in notes(differences))
    return [markdown(COLUMNS, cells(differences), right=RIGHT), below]


def cells(differences: Sequence[Difference]) -> list[list[str]]:
    """A table's cells, in :data:`COLUMNS`; p-values are the adjusted ones."""
    lines = []
    for number, each in enumerate(differences, start=2):
        seeds, examples = each.error, each.examples
        lines.append(
            [
                f"{number} minus 1",
                signed(seeds.mean, seeds.low, seeds.high) if seeds else NONE,
                str(seeds.n) if seeds else NONE,
                probability(each.t_test.holm),
                probability(each.wilcoxon.holm),
                each.seeds_say or NONE,
                signed(examples.points, examples.low, examples.high) if examples else NONE,
                f"{examples.n:,}" if examples else NONE,
                of(len(each.seeds), seeds.n) if seeds and examples else NONE,
                probability(each.mcnemar.holm),
                each.examples_say or NONE,
            ]
        )
    return lines


def notes(differences: Sequence[Difference]) -> list[str]:
    """What the columns mean, and why some have nothing."""
    lines = [MEANING]
    if len(differences) > 1:
        lines.append("p-values are adjusted over the tests of each column (Holm).")
    lines += _reasons("no difference", [each.reason for each in differences])
    lines += _reasons("no t test", [each.t_test.reason for each in differences])
    lines += _reasons("no Wilcoxon test", [each.wilcoxon.reason for each in differences])
    lines += _reasons("nothing over test examples", [each.mcnemar.reason for each in differences])
    intervals = [each.examples.reason if each.examples else None for each in differences]
    lines += _reasons("no interval over test examples", intervals)
    for number, each in enumerate(differences, start=2):
        if each.error and each.seeds and len(each.seeds) < each.error.n:
            lines.append(
                f"{number} minus 1 over test examples: of {len(each.seeds)} of {each.error.n} "
                "common seeds, the others keep no predictions."
            )
    return lines


def probability(p: float | None) -> str:
    """``0.0312``; ``<0.0001``; a dash for None."""
    return NONE if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _reasons(what: str, reasons: Iterable[str | None]) -> list[str]:
    """A line a reason, with the numbers of the cells that it holds for."""
    numbers: dict[str, list[str]] = {}
    for number, reason in enumerate(reasons, start=2):
        if reason:
            numbers.setdefault(reason, []).append(str(number))
    return [f"{', '.join(some)} minus 1: {what}: {reason}." for reason, some in numbers.items()]
