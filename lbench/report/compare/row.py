"""A cell as one line of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.statistics.intervals import (
    Summary,
    binomial,
    error_interval,
    interval_of_known,
    resolution,
)
from lbench.store.audits import all_contradictions, worst
from lbench.store.rows import CellRow, RunRow

Pairs = Sequence[tuple[CellRow, Sequence[RunRow]]]
"""Cells with the latest attempt of each of their seeds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A cell as one line of a table; errors in percent.

    Args:
        cell: its row in the record.
        errors: test error by seed, of the finished runs.
        test: their mean with its interval; None when no run has finished.
        at_best_val: the same at the epoch of lowest validation error; None under ``paper``.
        sampling: with one seed, the Wilson interval of the test set's sampling alone.
        step_ms: milliseconds per training step, mean over the finished runs.
        core_share: least share of the training time in which a finished run had a core.
        step_ratio: ``step_ms`` over that of the first cell.
        step_memory_mib: most memory in what a step makes, of the finished runs.
        step_memory_ratio: ``step_memory_mib`` over that of the first cell.
        step_flops: operations of a training step in its matrix products; None where unknown.
        predict_flops: the same of predicting one example.
        peak_memory_mib: largest of the finished runs.
        audit: by claim what was claimed and measured, the worst of the runs; None without one.
        contradictions: claims that do not hold, with what was seen.
        unfinished: the runs that are not finished.
    """

    cell: CellRow
    errors: Mapping[int, float]
    test: Summary | None
    at_best_val: Summary | None
    sampling: tuple[float, float] | None
    step_ms: float | None
    core_share: float | None
    step_ratio: float | None
    step_memory_mib: float | None
    step_memory_ratio: float | None
    step_flops: float | None
    predict_flops: float | None
    peak_memory_mib: float | None
    audit: Mapping[str, Any] | None
    contradictions: Sequence[str]
    unfinished: Sequence[RunRow]

    @property
    def step(self) -> float:
        """Percentage of one test example; 0 where their number is not known."""
        return resolution(self.cell.test_examples)

    @property
    def options(self) -> str:
        """What differs from the defaults, from the readable id; "" for nothing."""
        return "/".join(self.cell.cell_id.rpartition("@")[0].split("/")[3:])

    def as_dict(self) -> dict[str, Any]:
        """The row as ``--json`` prints it."""
        return {
            "cell": self.cell.cell_id,
            "rule": self.cell.rule,
            "options": self.options,
            "network": self.cell.network,
            "blocks": self.cell.blocks,
            "dataset": self.cell.dataset,
            "dataset_title": self.cell.dataset_title,
            "variant": self.cell.variant,
            "seeds": sorted(self.errors),
            "test_error": self.test and self.test.as_dict(),
            "test_error_at_best_val": self.at_best_val and self.at_best_val.as_dict(),
            "sampling_ci95": self.sampling and list(self.sampling),
            "params": {
                "inf": self.cell.params_inf,
                "aux": self.cell.params_aux,
                "fix": self.cell.params_fix,
            },
            "step_ms": self.step_ms,
            "core_share": self.core_share,
            "step_ms_ratio": self.step_ratio,
            "step_memory_mib": self.step_memory_mib,
            "step_memory_ratio": self.step_memory_ratio,
            "step_flops": self.step_flops,
            "predict_flops": self.predict_flops,
            "peak_memory_mib": self.peak_memory_mib,
            "audit": self.audit,
            "contradictions": list(self.contradictions),
            "unfinished": [
                {"seed": run.seed, "status": run.status, "reason": run.reason}
                for run in self.unfinished
            ],
        }


def rows(pairs: Pairs) -> list[Row]:
    """One row a cell, in the order given."""
    lines: list[Row] = []
    for cell, runs in pairs:
        finished = [run for run in runs if run.status == "finished"]
        errors = {run.seed: run.test_error for run in finished if run.test_error is not None}
        step_ms = mean(interval_of_known(run.step_ms for run in finished))
        known = [run.core_share for run in finished if run.core_share is not None]
        step_memory = _largest(run.step_memory_mib for run in finished)
        lines.append(
            Row(
                cell=cell,
                errors=errors,
                test=error_interval(errors.values(), cell.test_examples),
                at_best_val=error_interval(
                    (run.test_error_at_best_val for run in finished), cell.test_examples
                ),
                sampling=sampling(errors, cell.test_examples),
                step_ms=step_ms,
                core_share=min(known, default=None),
                step_ratio=_over(step_ms, lines[0].step_ms if lines else step_ms),
                step_memory_mib=step_memory,
                step_memory_ratio=_over(
                    step_memory, lines[0].step_memory_mib if lines else step_memory
                ),
                step_flops=_largest(run.step_flops for run in finished),
                predict_flops=_largest(run.predict_flops for run in finished),
                peak_memory_mib=_largest(run.peak_memory_mib for run in finished),
                audit=worst(run.audit for run in runs),
                contradictions=all_contradictions(run.contradictions for run in runs),
                unfinished=[run for run in runs if run.status != "finished"],
            )
        )
    return lines


def sampling(errors: Mapping[int, float], examples: int | None) -> tuple[float, float] | None:
    """With one seed, the interval that the size of the test set leaves; else None."""
    if len(errors) != 1 or not examples:
        return None
    (error,) = errors.values()
    return binomial(error, examples)


def mean(summary: Summary | None) -> float | None:
    """The mean of a summary; None of none."""
    return None if summary is None else summary.mean


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _over(value: float | None, first: float | None) -> float | None:
    return value / first if value and first else None
