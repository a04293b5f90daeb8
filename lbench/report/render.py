"""A comparison as text and as markdown: the same table, and the same lines below it."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from lbench.quantities import QUANTITIES
from lbench.report import citations, difference_table
from lbench.report.audit import CONTRADICTED, short
from lbench.report.compare import Comparison, Pairs, Row, Term, mean, rows
from lbench.report.quantity_text import quantity_text
from lbench.report.step_time import BUSY_NOTE, busy
from lbench.report.table import (
    NONE,
    Table,
    between,
    count,
    decimal,
    markdown,
    of,
    percent,
    print_notes,
    print_parts,
    settings,
    text,
)
from lbench.statistics.intervals import Summary

COMPARED = [quantity for quantity in QUANTITIES if quantity.column and quantity.compared]
STEP_COLUMNS = [
    name for q in COMPARED for name in ([q.column_title, "x"] if q.ratio else [q.column_title])
]
COLUMNS = (
    "", "rule", "options", "network", "dataset", "seeds", "test error %", "at best val",
    "P_inf", "P_aux", "P_fix", *STEP_COLUMNS, "audit", "not finished",
)  # fmt: skip
AUDIT, UNFINISHED = len(COLUMNS) - 2, len(COLUMNS) - 1
RIGHT = range(5, AUDIT)
CELLS, ERRORS = (0, 1, 2, 3, 4), (0, 1, 5, 6, UNFINISHED)
RESULTS = (0, 1, 2, 3, 4, 5, 6, UNFINISHED)
SIZES = (0, 7, 8, 9, 10, AUDIT)
STEPS = (0, *range(11, AUDIT))
LAYOUTS = ((RESULTS, SIZES, STEPS), (CELLS, ERRORS, SIZES, STEPS))
"""The columns of each table in a narrow terminal, and in a narrower one."""
SAMPLING = "* One seed: the interval of the test set's sampling alone (Wilson), not over seeds."
ELSEWHERE = "Published, percent; network, augmentation and selection as stated"


def show(comparison: Comparison) -> None:
    """Print tables and notes on standard output; a narrow terminal gets several smaller tables."""
    red = [at for at, row in enumerate(comparison.rows) if row.contradictions]
    print_parts(COLUMNS, cells(comparison.rows), LAYOUTS, right=RIGHT, red=red)
    difference_table.show(comparison.differences)
    print_notes(notes(comparison))
    citations.print_published(comparison.published, f"\n{ELSEWHERE}")


def table(comparison: Comparison) -> Table:
    """Return the rows of a comparison as one table, with its notes."""
    rows = comparison.rows
    red = [at for at, row in enumerate(rows) if row.contradictions]
    return Table("", COLUMNS, cells(rows), RIGHT, red=red, notes=notes(comparison))


def listing(pairs: Pairs) -> Table:
    """Return all configurations of a home: seeds, test error, audit and what is not finished."""
    lines = rows(pairs)
    return Table(
        "",
        ["cell", "seeds", "test error %", "audit", "not finished"],
        [
            [
                line.cell.cell_id,
                of(len(line.errors), len(line.errors) + len(line.unfinished)),
                error(line.test, line.sampling),
                short(line.audit, line.contradictions),
                unfinished(line),
            ]
            for line in lines
        ],
        right=[1, 2],
        red=[at for at, line in enumerate(lines) if line.contradictions],
        notes=[SAMPLING] if any(line.sampling for line in lines) else [],
    )


def to_markdown(comparison: Comparison) -> str:
    """The same in GitHub's markdown."""
    parts = [
        markdown(COLUMNS, cells(comparison.rows), right=RIGHT),
        *difference_table.to_markdown(comparison.differences),
        "\n".join(f"- {note}" for note in notes(comparison)),
    ]
    if comparison.published:
        columns, lines, sources = citations.table(comparison.published)
        parts += [f"{ELSEWHERE}:", markdown(columns, lines), "\n".join(f"- {s}" for s in sources)]
    return "\n\n".join(parts)


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """A table's cells, in :data:`COLUMNS`."""
    return [
        [
            str(number),
            row.cell.rule,
            row.options or NONE,
            row.cell.network + (f" in {row.cell.blocks}" if row.cell.blocks else ""),
            row.cell.dataset_title,
            of(len(row.errors), len(row.errors) + len(row.unfinished)),
            error(row.test, row.sampling),
            percent(mean(row.at_best_val)),
            count(row.cell.params_inf),
            count(row.cell.params_aux),
            count(row.cell.params_fix),
            *_steps(row),
            short(row.audit, row.contradictions),
            unfinished(row),
        ]
        for number, row in enumerate(rows, start=1)
    ]


def _steps(row: Row) -> list[str]:
    """Return the texts of :data:`STEP_COLUMNS`."""
    texts = []
    for quantity in COMPARED:
        texts.append(quantity_text(quantity, row.measured))
        if quantity.ratio:
            texts.append(decimal(row.ratios[quantity.name]))
    return texts


def error(test: Summary | None, sampling: tuple[float, float] | None = None) -> str:
    """Return ``1.80 [1.70, 1.90]``; ``1.80 [1.56, 2.08]*`` with one seed; a dash for none.

    There is no ±: an interval ends at 0 and 100 %, so its ends may differ in their distance.
    """
    if test is None:
        return NONE
    if test.low is not None and test.high is not None:
        return f"{percent(test.mean)} {between(test.low, test.high)}"
    if sampling is not None:
        return f"{percent(test.mean)} {between(*sampling)}*"
    return percent(test.mean)


def unfinished(row: Row) -> str:
    """``1 diverged, 2 killed``; a dash for none."""
    statuses = collections.Counter(run.status for run in row.unfinished)
    return ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())) or NONE


def notes(comparison: Comparison) -> list[str]:
    """What stands below the tables: cells by number, and what is unequal."""
    rows = comparison.rows
    lines = [f"{number}: {row.cell.cell_id}" for number, row in enumerate(rows, start=1)]
    if any(row.sampling and row.test and row.test.n == 1 for row in rows):
        lines.append(SAMPLING)
    if any(busy(row.measured["core_share"]) for row in rows):
        lines.append(BUSY_NOTE)
    for number, row in enumerate(rows, start=1):
        lines += [
            f"{number}, seed {run.seed} is {run.status}" + (f": {run.reason}" if run.reason else "")
            for run in row.unfinished
        ]
        lines += [f"{number} {CONTRADICTED} {text}" for text in row.contradictions]
    lines += [f"UNEQUAL {_values(term)}" for term in comparison.unequal]
    lines += [f"Recipes differ in {_values(term)}" for term in comparison.recipes]
    return lines


def _values(term: Term) -> str:
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for number, value in enumerate(term.values, start=1):
        shown = settings(value.items()) if isinstance(value, dict) else text(value)
        groups[shown].append(str(number))
    return f"{term.name}: " + "; ".join(
        f"{value or 'none'} in {', '.join(numbers)}" for value, numbers in groups.items()
    )
