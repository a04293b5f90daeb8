"""A comparison as text and as Markdown, with the same tables and notes."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from lbench.audit_pages.words import CONTRADICTED, short
from lbench.output.table import (
    NONE,
    Table,
    between,
    count,
    decimal,
    out_of,
    percent,
    print_notes,
    settings,
    text,
)
from lbench.published import citations
from lbench.quantities import QUANTITIES, Quantity
from lbench.report.compare import difference
from lbench.report.compare.comparison import Comparison, Term
from lbench.report.compare.row import Row, mean, rows
from lbench.report.quantity_text import BUSY_NOTE, busy, quantity_text
from lbench.statistics.intervals import Summary
from lbench.store.rows import Pairs


def _quantity_columns() -> Iterator[tuple[str, Callable[[Row], str]]]:
    """Yield the columns of the quantities that are compared, each with its ratio if it has one."""

    def value(quantity: Quantity, row: Row) -> str:
        return quantity_text(quantity, row.measured)

    def ratio(quantity: Quantity, row: Row) -> str:
        return decimal(row.ratios[quantity.name])

    for quantity in QUANTITIES:
        if quantity.column and quantity.compared:
            yield quantity.column_title, partial(value, quantity)
            if quantity.ratio:
                yield "x", partial(ratio, quantity)


TEXTS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("rule", lambda row: row.cell.rule),
    ("options", lambda row: row.options or NONE),
    ("network", lambda row: row.cell.network + (f" in {row.cell.blocks}" * bool(row.cell.blocks))),
    ("dataset", lambda row: row.cell.dataset_title),
    ("seeds", lambda row: seeds(row)),
    ("test error %", lambda row: error(row.test, row.sampling)),
    ("at best val", lambda row: percent(mean(row.at_best_val))),
    ("top-5 %", lambda row: percent(mean(row.top5))),
    ("P_inf", lambda row: count(row.cell.params_inf)),
    ("P_aux", lambda row: count(row.cell.params_aux)),
    ("P_fix", lambda row: count(row.cell.params_fix)),
    *_quantity_columns(),
    ("audit", lambda row: short(row.audit, row.contradictions)),
    ("not finished", lambda row: unfinished(row)),
)
"""The columns of a comparison behind its row numbers, and their texts."""
COLUMNS = ("", *(name for name, _ in TEXTS))
SEEDS, BEST, TOP5, LAST, AUDIT, UNFINISHED = map(
    COLUMNS.index, ("seeds", "at best val", "top-5 %", "P_fix", "audit", "not finished")
)
SAMPLING = "* One seed: the interval of the test set's sampling alone (Wilson), not over seeds."


def show(comparison: Comparison) -> None:
    """Print tables and notes on standard output; a narrow terminal gets several smaller tables."""
    replace(table(comparison), notes=()).print()
    if comparison.differences:
        difference.table(comparison.differences).print()
    print_notes(notes(comparison))
    citations.print_published(comparison.published, "\n")


def table(comparison: Comparison) -> Table:
    """Return the rows of a comparison as one table, with its notes."""
    rows = comparison.rows
    red = [at for at, row in enumerate(rows) if row.contradictions]
    right = range(SEEDS, AUDIT)
    whole = Table("", COLUMNS, cells(rows), right, (), red, notes(comparison))
    left_out = set() if any(row.top5 for row in rows) else {TOP5}
    chosen = [at for at in range(len(COLUMNS)) if at not in left_out]
    return replace(whole.select(chosen), layouts=_layouts(chosen))


def _layouts(chosen: Sequence[int]) -> list[list[list[int]]]:
    """Return the columns of each table in a narrow terminal, and in a narrower one.

    Args:
        chosen: the columns that are shown, by their index in :data:`COLUMNS`.
    """
    cell, errors = range(SEEDS), range(SEEDS, BEST)
    sizes, steps = (0, *range(BEST, LAST + 1), AUDIT), (0, *range(LAST + 1, AUDIT))
    wide = ((*cell, *errors, UNFINISHED), sizes, steps)
    narrow = (cell, (0, 1, *errors, UNFINISHED), sizes, steps)
    return [
        [[chosen.index(at) for at in part if at in chosen] for part in layout]
        for layout in (wide, narrow)
    ]


def listing(pairs: Pairs) -> Table:
    """Return all configurations of a home: seeds, test error, audit and what is not finished."""
    lines = rows(pairs)
    return Table(
        "",
        ["cell", "seeds", "test error %", "audit", "not finished"],
        [
            [
                line.cell.cell_id,
                seeds(line),
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
    """Return all tables and notes of a comparison in GitHub's Markdown."""
    parts = [replace(table(comparison), notes=()).markdown()]
    if comparison.differences:
        parts.append(difference.table(comparison.differences).markdown())
    parts.append("\n".join(f"- {note}" for note in notes(comparison)))
    if comparison.published:
        parts += [f"{citations.TITLE}:", citations.table(comparison.published).markdown()]
    return "\n\n".join(parts)


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return the texts of a table with the columns :data:`COLUMNS`."""
    return [[str(at), *(text(row) for _, text in TEXTS)] for at, row in enumerate(rows, start=1)]


def seeds(row: Row) -> str:
    """Return how many seeds have finished: ``9 of 10``, or ``10`` if all have."""
    return out_of(len(row.errors), len(row.errors) + len(row.unfinished))


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
    """Return ``1 diverged, 2 killed``; a dash for none."""
    statuses = collections.Counter(run.status for run in row.unfinished)
    return ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())) or NONE


def notes(comparison: Comparison) -> list[str]:
    """Return the notes below the tables: ids by number, runs that did not finish, differences."""
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
