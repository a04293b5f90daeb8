"""A study's table, as what markdown, LaTeX, HTML, CSV and parquet are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lbench.quantities import QUANTITIES
from lbench.report.audit import found, short
from lbench.report.audit_text import say
from lbench.report.compare import mean
from lbench.report.lines import Group, Line
from lbench.report.quantity_text import quantity_text
from lbench.report.render import error, unfinished
from lbench.report.searches import settings_of
from lbench.report.step_time import BUSY_NOTE, busy
from lbench.report.table import NONE, Table, between, count, percent, signed
from lbench.report.verdict import SET, Against, Verdict
from lbench.statistics.intervals import Summary
from lbench.store.rows import RunRow
from lbench.studies.results import Results

LIMIT = 40
"""Lines of a table in a page; the files have all."""
RESULTS = (
    "rule", "task", "settings", "chosen by the search", "seeds", "test error %",
    "test set alone %", "difference", "p (Holm)", "at best val %", "not finished",
)  # fmt: skip
COSTS = (
    "rule", "task", "settings", "P_inf", "P_aux", "P_fix",
    *(quantity.column_title for quantity in QUANTITIES if quantity.column),
    "audit", "backward depth",
)  # fmt: skip
WORDS = {
    "rule", "task", "settings", "chosen by the search", "audit", "not finished", "setting",
    "searched", "not told apart from the best",
}  # fmt: skip
"""Columns of words; all others are numbers."""


def numbers(columns: Sequence[str]) -> list[int]:
    """Return the indices of the columns of numbers."""
    return [at for at, column in enumerate(columns) if column not in WORDS]


Judged = tuple[Group, Verdict]


def results_tables(judged: Sequence[Judged], limit: int = LIMIT) -> list[Table]:
    """What the cells reached: one table for each dataset and network."""
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
                rows.append(_result(group, line, against))
        if len(rows) < total:
            notes.append(f"{total - len(rows)} more cells have a larger error, see table.csv.")
        notes += _notes(groups)
        tables.append(_without_empty(Table(where, RESULTS, rows, (), bold, red, notes)))
    return tables


def cost_tables(judged: Sequence[Judged], limit: int = LIMIT) -> list[Table]:
    """What the cells took, and what was measured of their rules."""
    tables = []
    for where, groups in _places(judged).items():
        every = [(group, line) for group, _ in groups for line in group.lines]
        kept = every if len(every) <= limit else _of_each_rule(every)
        red = [at for at, (_, line) in enumerate(kept) if line.row.contradictions]
        notes = [f"{line.title}: {text}" for _, line in kept for text in line.row.contradictions]
        if len(kept) < len(every):
            notes.append(
                "Of each rule the cell of lowest error, and every cell with a contradiction; "
                "table.csv has all."
            )
        if any(busy(line.row.measured["core_share"]) for _, line in kept):
            notes.append(BUSY_NOTE)
        rows = [_cost(group, line) for group, line in kept]
        tables.append(_without_empty(Table(where, COSTS, rows, (), (), red, notes)))
    return tables


def records(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One flat object a cell, with every number: errors in percent, seconds, MiB."""
    return [
        _record(group, line, against, line in verdict.best)
        for group, verdict in judged
        for line, against in zip(group.lines, verdict.against, strict=True)
    ]


def run_records(results: Results) -> list[dict[str, Any]]:
    """One flat object a run: those of the table, of the searches, and of their defaults."""
    rows = [_run("final", f.point.key, None, run) for f in results.finals for run in f.runs]
    for search in results.searches:
        for trial in search.trials:
            rows += [_run("trial", search.point.key, trial.number, run) for run in trial.runs]
        if search.defaults is not None:
            key = search.point.key
            rows += [_run("defaults", key, None, run) for run in search.defaults.runs]
    return rows


def difference(against: Against | None) -> str:
    """``+0.12 [-0.03, +0.27]``; a dash where there is none."""
    if against is None:
        return NONE
    points = against.points
    return signed(points.mean, points.low, points.high)


def p_value(p: float | None) -> str:
    """``0.031``, ``< 0.001``; a dash for None."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _places(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    places: dict[str, list[Judged]] = {}
    for group, verdict in judged:
        places.setdefault(group.where, []).append((group, verdict))
    return places


def _kept(group: Group, verdict: Verdict, limit: int) -> Iterator[tuple[Line, Against | None]]:
    """The lines of lowest error, in the order of the plan."""
    worst = float("inf")
    if len(group.lines) > limit:
        worst = sorted(_mean(line) for line in group.lines)[limit - 1]
    left = limit
    for line, against in zip(group.lines, verdict.against, strict=True):
        if left and _mean(line) <= worst:
            left -= 1
            yield line, against


def _of_each_rule(every: Sequence[tuple[Group, Line]]) -> list[tuple[Group, Line]]:
    """Of each rule and task the line of lowest error, and every contradiction."""
    lowest: dict[tuple[str, str], Line] = {}
    for group, line in sorted(every, key=lambda pair: _mean(pair[1])):
        lowest.setdefault((group.told, line.name), line)
    kept = list(lowest.values())
    return [pair for pair in every if pair[1] in kept or pair[1].row.contradictions]


def _mean(line: Line) -> float:
    return line.row.test.mean if line.row.test else float("inf")


def _result(group: Group, line: Line, against: Against | None) -> list[str]:
    row = line.row
    return [
        line.name,
        group.told or NONE,
        line.settings or NONE,
        settings_of(line.final.chosen) or NONE,
        line.seeds,
        error(row.test),
        _between(line.sampling),
        difference(against),
        p_value(against.p if against else None),
        percent(mean(row.at_best_val)),
        unfinished(row),
    ]


def _cost(group: Group, line: Line) -> list[str]:
    row, cell = line.row, line.row.cell
    depth = found(row.audit, "backward_depth")
    return [
        line.name,
        group.told or NONE,
        line.settings or NONE,
        count(cell.params_inf),
        count(cell.params_aux),
        count(cell.params_fix),
        *(quantity_text(q, row.measured) for q in QUANTITIES if q.column),
        short(row.audit, row.contradictions),
        say(depth),
    ]


def _between(ends: tuple[float, float] | None) -> str:
    return NONE if ends is None else between(*ends)


def _notes(groups: Sequence[Judged]) -> list[str]:
    notes = []
    methods = dict.fromkeys(v.method for g, v in groups if len(g.known) > 1)
    notes += [f"Bold: {SET}, by {method}." for method in methods]
    names = dict.fromkeys(v.reference.title for _, v in groups if v.reference is not None)
    if names and any(any(v.against) for _, v in groups):
        notes.append(f"Difference: minus {', '.join(names)}, in points, paired by seed.")
    if any(line.sampling for group, _ in groups for line in group.lines):
        notes.append(
            "Test set alone: the Wilson 95 % interval of an error counted on so many examples, "
            "whatever the seed."
        )
    if any(line.row.test and line.row.test.n > 1 for group, _ in groups for line in group.lines):
        notes.append(
            "Test error: the mean, and the 95 % interval over seeds of the expected error on this "
            "test set."
        )
    return notes


def _without_empty(table: Table) -> Table:
    kept = [
        at
        for at, column in enumerate(table.columns)
        if column == "rule" or any(row[at] != NONE for row in table.rows)
    ]
    columns = [table.columns[at] for at in kept]
    return Table(
        table.title,
        columns,
        [[row[at] for at in kept] for row in table.rows],
        numbers(columns),
        table.bold,
        table.red,
        table.notes,
    )


def _record(group: Group, line: Line, against: Against | None, best: bool) -> dict[str, Any]:
    row, cell, point = line.row, line.row.cell, line.final.point
    points = against.points if against else None
    return {
        "dataset": cell.dataset,
        "variant": cell.variant,
        "data_digest": cell.data_digest,
        "network": cell.network,
        "blocks": cell.blocks,
        "rule": cell.rule,
        "name": line.name,
        "point": point.key,
        "settings": settings_of(point.settings),
        "chosen": settings_of(line.final.chosen),
        "cell": cell.cell_id,
        "protocol": cell.protocol,
        "test_examples": cell.test_examples,
        "seeds_finished": len(row.errors),
        "seeds_wanted": line.wanted,
        **_spread("test_error", row.test),
        "sampling_low": line.sampling and line.sampling[0],
        "sampling_high": line.sampling and line.sampling[1],
        "test_error_at_best_val": mean(row.at_best_val),
        "best_set": best if row.test else None,
        **_spread("difference", points),
        "p_holm": against.p if against else None,
        "params_inf": cell.params_inf,
        "params_aux": cell.params_aux,
        "params_fix": cell.params_fix,
        **row.measured,
        "backward_depth": _text(found(row.audit, "backward_depth")),
        "bp_free": found(row.audit, "bp_free"),
        "contradictions": "; ".join(row.contradictions),
        "not_finished": "; ".join(
            f"seed {run.seed} {run.status}: {run.reason or ''}".rstrip(": ")
            for run in row.unfinished
        ),
    }


def _spread(name: str, summary: Summary | None) -> dict[str, float | None]:
    return {
        name: summary.mean if summary else None,
        f"{name}_sd": summary.sd if summary else None,
        f"{name}_low": summary.low if summary else None,
        f"{name}_high": summary.high if summary else None,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _run(role: str, point: str, trial: int | None, run: RunRow) -> dict[str, Any]:
    return {
        "role": role,
        "point": point,
        "trial": trial,
        "seed": run.seed,
        "attempt": run.attempt,
        "status": run.status,
        "reason": run.reason,
        **run.measured,
        "fingerprint": run.fingerprint,
        "cell": run.cell,
    }


def to_markdown(reached: Sequence[Table], cost: Sequence[Table]) -> str:
    """Return tables in GitHub's markdown, results first; bold as in ``verdict.SET``."""
    return "\n".join(
        f"## {heading}\n\n" + "\n".join(_markdown(table) for table in tables)
        for heading, tables in (("Results", reached), ("Costs and audit", cost))
    )


def _markdown(table: Table) -> str:
    notes = "".join(f"- {note}\n" for note in table.notes)
    return f"### {table.title}\n\n{table.markdown()}\n" + (f"\n{notes}" if notes else "")
