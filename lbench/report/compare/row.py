"""A configuration as one line of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.quantities import QUANTITIES
from lbench.statistics.intervals import (
    Summary,
    binomial,
    error_interval,
    resolution,
)
from lbench.store.audits import all_contradictions, worst
from lbench.store.rows import CellRow, Pairs, RunRow

SHOWN = [quantity for quantity in QUANTITIES if quantity.over_seeds]
"""The quantities that have a value over the seeds of a configuration."""


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration as one line of a table; errors are in percent.

    Args:
        cell: its row in the record.
        errors: test error of the finished runs by seed.
        test: mean of the test errors with its interval; None if no run has finished.
        at_best_val: the same at the epoch of lowest validation error; None under ``paper``.
        top5: mean of the top-5 test errors with its interval; None with fewer than 100 classes.
        sampling: with one seed, the Wilson interval of the test set's sampling alone.
        measured: quantities that have a value over seeds, by name, from the finished runs.
        ratios: values over those of the first row, for the quantities that have a ratio.
        audit: by claim, the claimed value and the worst one that was measured in a run; None
            without an audit.
        contradictions: claims that do not hold, each with the observation.
        unfinished: the runs that are not finished.
    """

    cell: CellRow
    errors: Mapping[int, float]
    test: Summary | None
    at_best_val: Summary | None
    top5: Summary | None
    sampling: tuple[float, float] | None
    measured: Mapping[str, float | None]
    ratios: Mapping[str, float | None]
    audit: Mapping[str, Any] | None
    contradictions: Sequence[str]
    unfinished: Sequence[RunRow]

    @property
    def step(self) -> float:
        """Return the percentage of one test example; 0 if their number is not known."""
        return resolution(self.cell.test_examples)

    @property
    def options(self) -> str:
        """Return the options that differ from the defaults, as in the readable id; "" for none."""
        return "/".join(self.cell.cell_id.rpartition("@")[0].split("/")[3:])

    def as_dict(self) -> dict[str, Any]:
        """Return the row as ``--json`` prints it."""
        cell = self.cell
        return {
            "cell": cell.cell_id,
            "options": self.options,
            **cell.select("rule", "network", "blocks", "dataset", "dataset_title", "variant"),
            "seeds": sorted(self.errors),
            "test_error": self.test and self.test.as_dict(),
            "test_error_at_best_val": self.at_best_val and self.at_best_val.as_dict(),
            "test_error_top5": self.top5 and self.top5.as_dict(),
            "sampling_ci95": self.sampling and list(self.sampling),
            "params": {"inf": cell.params_inf, "aux": cell.params_aux, "fix": cell.params_fix},
            "per_block": cell.per_block,
            **{q.name: self.measured[q.name] for q in SHOWN if q.compared},
            **{q.ratio: self.ratios[q.name] for q in SHOWN if q.ratio},
            "audit": self.audit,
            "contradictions": list(self.contradictions),
            "unfinished": [
                {"seed": run.seed, "status": run.status, "reason": run.reason}
                for run in self.unfinished
            ],
        }


def rows(pairs: Pairs) -> list[Row]:
    """Return one row per configuration, in the order given."""
    lines: list[Row] = []
    for cell, runs in pairs:
        finished = [run for run in runs if run.status == "finished"]
        errors = {run.seed: run.test_error for run in finished if run.test_error is not None}
        values = {q.name: q.combined(run.measured[q.name] for run in finished) for q in SHOWN}
        first = lines[0].measured if lines else values
        at_best_val, top5 = (
            error_interval((run.measured[name] for run in finished), cell.test_examples)
            for name in ("test_error_at_best_val", "test_error_top5")
        )
        lines.append(
            Row(
                cell=cell,
                errors=errors,
                test=error_interval(errors.values(), cell.test_examples),
                at_best_val=at_best_val,
                top5=top5,
                sampling=sampling(errors, cell.test_examples),
                measured=values,
                ratios={q.name: _over(values[q.name], first[q.name]) for q in SHOWN if q.ratio},
                audit=worst(run.audit for run in runs),
                contradictions=all_contradictions(run.contradictions for run in runs),
                unfinished=[run for run in runs if run.status != "finished"],
            )
        )
    return lines


def sampling(errors: Mapping[int, float], examples: int | None) -> tuple[float, float] | None:
    """Return the Wilson interval of the error of a single seed; None for several seeds."""
    if len(errors) != 1 or not examples:
        return None
    (error,) = errors.values()
    return binomial(error, examples)


def mean(summary: Summary | None) -> float | None:
    """Return the mean of a summary; None for None."""
    return None if summary is None else summary.mean


def _over(value: float | None, first: float | None) -> float | None:
    return value / first if value and first else None
