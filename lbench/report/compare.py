"""Cells side by side: one row each, paired differences, and every term on which they differ."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.report.published import Published, published
from lbench.statistics.intervals import Summary, binomial, interval, paired
from lbench.store.audits import together, worst
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
        step_ms: milliseconds a training step, mean over the finished runs.
        step_ratio: ``step_ms`` over that of the first cell.
        step_memory_mib: most memory in what a step makes, of the finished runs.
        step_memory_ratio: ``step_memory_mib`` over that of the first cell.
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
    step_ratio: float | None
    step_memory_mib: float | None
    step_memory_ratio: float | None
    peak_memory_mib: float | None
    audit: Mapping[str, Any] | None
    contradictions: Sequence[str]
    unfinished: Sequence[RunRow]

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
            "step_ms_ratio": self.step_ratio,
            "step_memory_mib": self.step_memory_mib,
            "step_memory_ratio": self.step_memory_ratio,
            "peak_memory_mib": self.peak_memory_mib,
            "audit": self.audit,
            "contradictions": list(self.contradictions),
            "unfinished": [
                {"seed": run.seed, "status": run.status, "reason": run.reason}
                for run in self.unfinished
            ],
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell against the first one, over the seeds that both have finished.

    Args:
        error: the mean difference in points; None without common seeds, or on other data.
        reason: why there is none.
    """

    row: Row
    error: Summary | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Term:
    """Something on which cells differ: what it is, and its value for each of them, in order."""

    name: str
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that ``lbench compare`` says.

    Args:
        unequal: terms that would have to be the same for a fair comparison.
        recipes: what differs in how the cells are optimised; a rule may have its own.
        published: of each rule and its options; never in one column with the rows.
    """

    rows: Sequence[Row]
    differences: Sequence[Difference]
    unequal: Sequence[Term]
    recipes: Sequence[Term]
    published: Sequence[Published]

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        ids = [row.cell.cell_id for row in self.rows]
        return {
            "cells": [row.as_dict() for row in self.rows],
            "differences": [
                {
                    "cell": difference.row.cell.cell_id,
                    "minus": ids[0],
                    "test_error": difference.error and difference.error.as_dict(),
                    "reason": difference.reason,
                }
                for difference in self.differences
            ],
            "unequal": [_named(term, ids) for term in self.unequal],
            "recipes": [_named(term, ids) for term in self.recipes],
            "published": [row.as_dict() for row in self.published],
        }


def compare(pairs: Pairs) -> Comparison:
    """Everything about these cells; the first is what the others are held against."""
    lines = rows(pairs)
    return Comparison(
        lines,
        [difference(line, lines[0]) for line in lines[1:]],
        unequal(lines, pairs),
        _differing([cell.spec.get("recipe", {}) for cell, _ in pairs]),
        _published(lines),
    )


def rows(pairs: Pairs) -> list[Row]:
    """One row a cell, in the order given."""
    lines: list[Row] = []
    for cell, runs in pairs:
        finished = [run for run in runs if run.status == "finished"]
        errors = {run.seed: run.test_error for run in finished if run.test_error is not None}
        step_ms = mean(_summary(run.step_ms for run in finished))
        step_memory = _largest(run.step_memory_mib for run in finished)
        lines.append(
            Row(
                cell=cell,
                errors=errors,
                test=_summary(errors.values()),
                at_best_val=_summary(run.test_error_at_best_val for run in finished),
                sampling=sampling(errors, cell.test_examples),
                step_ms=step_ms,
                step_ratio=_over(step_ms, lines[0].step_ms if lines else step_ms),
                step_memory_mib=step_memory,
                step_memory_ratio=_over(
                    step_memory, lines[0].step_memory_mib if lines else step_memory
                ),
                peak_memory_mib=_largest(run.peak_memory_mib for run in finished),
                audit=worst(run.audit for run in runs),
                contradictions=together(run.contradictions for run in runs),
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


def difference(row: Row, first: Row) -> Difference:
    """``row`` minus ``first``, paired by seed."""
    if row.cell.data_digest != first.cell.data_digest:
        return Difference(row, None, "other data, so there is nothing to pair")
    error = paired(row.errors, first.errors)
    return Difference(row, error, None if error else "no seed is finished in both")


def unequal(lines: Sequence[Row], pairs: Pairs) -> list[Term]:
    """The terms that differ: task, precision, network options, code, seeds and machine."""
    terms = _differing([_terms(cell.spec) for cell, _ in pairs])
    for same, name, value in CONDITIONAL:
        # Two cells of one network must agree on its options; two of other networks cannot.
        known: dict[Any, set[str]] = collections.defaultdict(set)
        for cell, _ in pairs:
            known[same(cell)].add(str(value(cell)))
        if any(len(values) > 1 for values in known.values()):
            terms.append(Term(name, [value(cell) for cell, _ in pairs]))
    terms += _differing([{"seeds": sorted(line.errors)} for line in lines])
    terms += _differing([_machines(runs) for _, runs in pairs])
    return terms


CONDITIONAL: list[tuple[Callable[[CellRow], Any], str, Callable[[CellRow], Any]]] = [
    (lambda cell: cell.rule, "code of the rule", lambda cell: cell.rule_code[:8]),
    (
        lambda cell: cell.network,
        "network options",
        lambda cell: {**cell.spec.get("network", {}).get("options", {}), "blocks": cell.blocks},
    ),
]


def _terms(spec: Mapping[str, Any]) -> dict[str, Any]:
    """All that a spec says beside rule, recipe and network, under readable names."""
    others = {k: v for k, v in spec.items() if k not in ("rule", "recipe", "network", "task")}
    # A spec says nothing of the share of labels where all are used.
    terms = _flat({"labels": 1, **spec.get("task", {}), **others})
    if "digest" in terms:
        terms["data digest"] = str(terms.pop("digest"))[:12]
    return terms


def _machines(runs: Iterable[RunRow]) -> dict[str, Any]:
    """Devices, threads and versions of the finished runs: what times depend on."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for run in runs:
        if run.status == "finished":
            for name, value in run.environment.items():
                found[name].add(str(value))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key} ")
        else:
            flat[prefix + key] = value
    return flat


def _differing(contents: Sequence[Mapping[str, Any]]) -> list[Term]:
    names = dict.fromkeys(name for content in contents for name in content)
    terms = [Term(name, [content.get(name) for content in contents]) for name in names]
    return [term for term in terms if any(value != term.values[0] for value in term.values)]


def mean(summary: Summary | None) -> float | None:
    """The mean of a summary; None of none."""
    return None if summary is None else summary.mean


def _summary(values: Iterable[float | None]) -> Summary | None:
    known = [value for value in values if value is not None]
    return interval(known) if known else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _over(value: float | None, first: float | None) -> float | None:
    return value / first if value and first else None


def _published(lines: Iterable[Row]) -> list[Published]:
    found: dict[Published, None] = {}
    for line in lines:
        config = line.cell.spec.get("rule", {}).get("config", {})
        found |= dict.fromkeys(published(line.cell.rule, line.cell.dataset, config))
    return list(found)


def _named(term: Term, ids: Sequence[str]) -> dict[str, Any]:
    return {"what": term.name, "values": dict(zip(ids, term.values, strict=True))}
