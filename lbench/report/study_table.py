"""The tables of a study, from which Markdown, LaTeX and HTML are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lbench.audit_pages.words import claim_value, say, short
from lbench.output.table import NONE, Table, between, count, p_value, percent
from lbench.per_block import short_text
from lbench.quantities import QUANTITIES
from lbench.report.compare.row import mean
from lbench.report.differences import Difference
from lbench.report.lines import Group, Line
from lbench.report.quantity_text import BUSY_NOTE, busy, quantity_text
from lbench.report.render import error, unfinished
from lbench.report.verdict import SET, Judged, Verdict
from lbench.studies.search_summary import settings_of

LIMIT = 40
"""Largest number of rows of a table in a page; the files have all."""
COSTED = [quantity for quantity in QUANTITIES if quantity.column]
RESULTS = (
    "rule", "task", "settings", "chosen by the search", "seeds", "test error %",
    "test set alone %", "difference", "p (Holm)", "at best val %", "top-5 error %",
    "not finished",
)  # fmt: skip
COSTS = (
    "rule", "task", "settings", "P_inf", "P_aux", "P_fix", *(q.column_title for q in COSTED),
    "audit", "backward depth", "per block",
)  # fmt: skip
WORDS = {
    "rule", "task", "settings", "chosen by the search", "audit", "not finished", "setting",
    "per block", "searched", "indistinguishable from the best",
}  # fmt: skip
"""Columns of words; all others are numbers."""


def numbers(columns: Sequence[str]) -> list[int]:
    """Return the indices of the columns of numbers."""
    return [at for at, column in enumerate(columns) if column not in WORDS]


def results_tables(judged: Sequence[Judged], limit: int = LIMIT) -> list[Table]:
    """Return the tables of results, one per dataset and network."""
    tables = []
    for where, groups in _places(judged).items():
        rows: list[list[str]] = []
        bold, red, notes = [], [], []
        total = sum(len(group.lines) for group, _ in groups)
        each = limit if total <= limit else max(2, limit // len(groups))
        for group, verdict in groups:
            for line, against in _kept(group, verdict, each):
                if line in verdict.best:
                    bold.append(len(rows))
                if line.row.contradictions:
                    red.append(len(rows))
                rows.append(_result(line, against))
        if len(rows) < total:
            more = f"{total - len(rows)} more configurations"
            notes.append(f"{more} have a larger error, see table.csv.")
        notes += _notes(groups)
        points = [line.final.point for group, _ in groups for line in group.lines]
        notes += dict.fromkeys(point.fallback for point in points if point.fallback)
        tables.append(
            _without_empty(Table(where, RESULTS, rows, numbers(RESULTS), bold, red, notes))
        )
    return tables


def cost_tables(judged: Sequence[Judged], limit: int = LIMIT) -> list[Table]:
    """Return the tables of costs and audits, one per dataset and network."""
    tables = []
    for where, groups in _places(judged).items():
        lines = [line for group, _ in groups for line in group.lines]
        shown = lines if len(lines) <= limit else _of_each_rule(lines)
        red = [at for at, line in enumerate(shown) if line.row.contradictions]
        notes = [f"{line.title}: {text}" for line in shown for text in line.row.contradictions]
        if len(shown) < len(lines):
            notes.append(
                "Shown are the configuration of lowest error of each rule and those with a "
                "contradiction; table.csv has all."
            )
        if any(busy(line.row.measured["core_share"]) for line in shown):
            notes.append(BUSY_NOTE)
        rows = [_cost(line) for line in shown]
        tables.append(_without_empty(Table(where, COSTS, rows, numbers(COSTS), (), red, notes)))
    return tables


def _places(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    wheres = dict.fromkeys(group.where for group, _ in judged)
    return {where: [pair for pair in judged if pair[0].where == where] for where in wheres}


def _kept(group: Group, verdict: Verdict, limit: int) -> Iterator[tuple[Line, Difference | None]]:
    """Yield the lines of lowest error in the order of the plan."""
    worst = float("inf")
    if len(group.lines) > limit:
        worst = sorted(line.error for line in group.lines)[limit - 1]
    left = limit
    for line, against in zip(group.lines, verdict.against, strict=True):
        if left and line.error <= worst:
            left -= 1
            yield line, against


def _of_each_rule(lines: Sequence[Line]) -> list[Line]:
    """Return the line of lowest error of each rule and task, and all contradicted lines."""
    lowest: dict[tuple[str, str], Line] = {}
    for line in sorted(lines, key=lambda line: line.error):
        lowest.setdefault((line.task, line.name), line)
    return [line for line in lines if line in lowest.values() or line.row.contradictions]


def _result(line: Line, against: Difference | None) -> list[str]:
    """Return the texts of the columns :data:`RESULTS`."""
    row = line.row
    return [
        *_names(line),
        settings_of(line.final.chosen) or NONE,
        line.seeds,
        error(row.test),
        between(*line.sampling) if line.sampling else NONE,
        (against and against.text) or NONE,
        p_value(against.p if against else None),
        percent(mean(row.at_best_val)),
        percent(mean(row.top5)),
        unfinished(row),
    ]


def _cost(line: Line) -> list[str]:
    """Return the texts of the columns :data:`COSTS`."""
    row, cell = line.row, line.row.cell
    return [
        *_names(line),
        *map(count, (cell.params_inf, cell.params_aux, cell.params_fix)),
        *(quantity_text(quantity, row.measured) for quantity in COSTED),
        short(row.audit, row.contradictions),
        say(claim_value(row.audit, "backward_depth")),
        short_text(cell.per_block or {}) or NONE,
    ]


def _names(line: Line) -> list[str]:
    return [line.name, line.task or NONE, line.settings or NONE]


def _notes(groups: Sequence[Judged]) -> list[str]:
    notes = []
    methods = dict.fromkeys(v.method for g, v in groups if len(g.known) > 1)
    notes += [f"Bold: {SET}, by {method}." for method in methods]
    names = dict.fromkeys(v.reference.title for _, v in groups if v.reference is not None)
    if names and any(any(v.against) for _, v in groups):
        notes.append(f"Difference: minus {', '.join(names)}, in points, paired by seed.")
    lines = [line for group, _ in groups for line in group.lines]
    if any(line.sampling for line in lines):
        notes.append(
            "Test set alone: the Wilson 95 % interval of an error counted on this number of test "
            "examples, whatever the seed."
        )
    if any(line.row.test and line.row.test.n > 1 for line in lines):
        notes.append(
            "Test error: the mean, and the 95 % interval over seeds of the expected error on this "
            "test set."
        )
    return notes


def _without_empty(table: Table) -> Table:
    """Return a table without the columns that have no value; the first one stays."""
    cells = enumerate(zip(*table.rows, strict=True))
    return table.select([at for at, texts in cells if at == 0 or set(texts) != {NONE}])


def to_markdown(reached: Sequence[Table], cost: Sequence[Table]) -> str:
    """Return tables in GitHub's markdown, results first; bold as in ``verdict.SET``."""
    return "\n".join(
        f"## {heading}\n\n"
        + "\n".join(f"### {table.title}\n\n{table.markdown()}\n" for table in tables)
        for heading, tables in (("Results", reached), ("Costs and audit", cost))
    )
