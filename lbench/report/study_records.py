"""Configurations and runs of a study as flat objects, with every number unrounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench.audit_pages.words import claim_value
from lbench.per_block import short_text
from lbench.report.compare.row import mean
from lbench.report.differences import Difference
from lbench.report.lines import Line
from lbench.report.verdict import Judged
from lbench.statistics.intervals import Summary
from lbench.store.rows import RunRow
from lbench.studies.results import StudyData
from lbench.studies.search_summary import settings_of


def records(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return one object per configuration, with errors in percent, seconds and MiB."""
    return [
        _record(line, against, line in verdict.best)
        for group, verdict in judged
        for line, against in zip(group.lines, verdict.against, strict=True)
    ]


def run_records(results: StudyData) -> list[dict[str, Any]]:
    """Return one object per run: runs of the table, of the searches and of their defaults."""
    rows = [_run("final", f.point.key, None, run) for f in results.finals for run in f.runs]
    for search in results.searches:
        key, defaults = search.point.key, search.defaults
        rows += [_run("trial", key, t.number, run) for t in search.trials for run in t.runs]
        rows += [_run("defaults", key, None, run) for run in (defaults.runs if defaults else ())]
    return rows


def _record(line: Line, against: Difference | None, best: bool) -> dict[str, Any]:
    row, cell, point = line.row, line.row.cell, line.final.point
    low, high = line.sampling or (None, None)
    depth = claim_value(row.audit, "backward_depth")
    return {
        **cell.select("dataset", "variant", "data_digest", "network", "blocks", "rule"),
        "name": line.name,
        "point": point.key,
        "settings": settings_of(point.settings),
        "chosen": settings_of(line.final.chosen),
        "cell": cell.cell_id,
        **cell.select("protocol", "test_examples"),
        "seeds_finished": len(row.errors),
        "seeds_wanted": line.wanted,
        **as_columns("test_error", row.test),
        "sampling_low": low,
        "sampling_high": high,
        "test_error_at_best_val": mean(row.at_best_val),
        **as_columns("test_error_top5", row.top5),
        "best_set": best if row.test else None,
        **as_columns("difference", against.points if against else None),
        "p_holm": against.p if against else None,
        **cell.select("params_inf", "params_aux", "params_fix"),
        "per_block": short_text(cell.per_block or {}),
        **row.measured,
        "backward_depth": None if depth is None else str(depth),
        "bp_free": claim_value(row.audit, "bp_free"),
        "contradictions": "; ".join(row.contradictions),
        "not_finished": "; ".join(
            f"seed {run.seed} {run.status}: {run.reason or ''}".rstrip(": ")
            for run in row.unfinished
        ),
    }


def _run(role: str, point: str, trial: int | None, run: RunRow) -> dict[str, Any]:
    return {
        "role": role,
        "point": point,
        "trial": trial,
        **run.select("seed", "attempt", "status", "reason"),
        **run.measured,
        **run.select("fingerprint", "cell"),
    }


def as_columns(name: str, summary: Summary | None) -> dict[str, float | None]:
    """Return a mean with its deviation and interval as flat columns; all None of no summary.

    The mean has the given name; those of the others end in ``_sd``, ``_low`` and ``_high``.
    """
    fields = {"": "mean", "_sd": "sd", "_low": "low", "_high": "high"}
    return {f"{name}{end}": getattr(summary, field, None) for end, field in fields.items()}
