"""The content of MLflow's runs: names, parameters, tags and curves; MLflow is not imported."""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbench.per_block import per_block_text
from lbench.quantities import QUANTITIES
from lbench.rundir import RunDir
from lbench.statistics.intervals import error_interval, interval_of_known
from lbench.store.audits import all_contradictions, worst
from lbench.store.rows import CellRow, Member, RunRow
from lbench.store.run_dir_reader import DAMAGE

CURVES = ("train_loss", "val_loss", "val_error", "lr")
MEAN_CURVES = ("train_loss", "val_loss", "val_error")
# MLflow refuses longer texts.
LONGEST_PARAMETER, LONGEST_TAG, LONGEST_KEY = 6000, 5000, 250

Point = tuple[str, float, int, int]
"""Metric name, value, Unix time in milliseconds, epoch."""
Leaf = tuple[tuple[str, ...], Any]


@dataclass(frozen=True)
class RunView:
    """The content of one MLflow run; times are Unix milliseconds."""

    name: str
    status: str
    started: int
    ended: int | None
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    points: list[Point] = field(default_factory=list)

    def digest(self) -> str:
        """Return a digest that changes with the content."""
        content = [self.name, self.status, self.ended, dict(self.tags), self.points]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def child(cell: CellRow, run: RunRow, members: Iterable[Member] = ()) -> RunView:
    """Return the MLflow run of a run: curves over epochs, final numbers, outcome and studies."""
    started = milliseconds(run.started)
    ended = None if run.ended is None else milliseconds(run.ended)
    final = ended or started
    points, problem = curves(run)
    last_epoch = max((point[3] for point in points), default=0)
    for quantity in QUANTITIES:
        value = run.measured[quantity.name]
        if value is not None and quantity.mlflow is not None:
            points.append((quantity.mlflow + quantity.name, rounded(value), final, last_epoch))
    attempt = "" if run.attempt == 1 else f", attempt {run.attempt}"
    tags = {
        "lbench.kind": "run",
        "lbench.fingerprint": run.fingerprint,
        "lbench.cell": cell.fingerprint,
        "lbench.cell_id": cell.cell_id,
        "lbench.seed": str(run.seed),
        "lbench.attempt": str(run.attempt),
        "lbench.status": run.status,
        "lbench.reason": run.reason or "",
        "lbench.problem": problem,
        "lbench.run_dir": str(run.run_dir),
        **{f"lbench.{key}": str(value) for key, value in run.environment.items()},
        **_audit_tags(run.audit, run.contradictions),
        **_study_tags(member for member in members if member.run == run.fingerprint),
    }
    return RunView(
        name=f"seed {run.seed}{attempt}",
        status=mlflow_status(run.status),
        started=started,
        ended=ended,
        tags=cut(tags),
        parameters={"seed": str(run.seed), **parameters(cell)},
        points=points,
    )


def parent(cell: CellRow, runs: list[RunRow], members: Iterable[Member] = ()) -> RunView:
    """Return the MLflow run of a configuration: summary over seeds, mean curve of finished runs."""
    started = min((milliseconds(run.started) for run in runs), default=0)
    running = any(run.status == "running" for run in runs)
    ends = [milliseconds(run.ended) for run in runs if run.ended is not None]
    ended = None if running else max(ends, default=None)
    points = mean_curves([run for run in runs if run.status == "finished"])
    final, last_epoch = ended or max(ends, default=started), max((p[3] for p in points), default=0)
    for key, value in metrics(cell, runs).items():
        if value is not None and math.isfinite(value):
            points.append((key, rounded(value), final, last_epoch))
    counts = Counter(run.status for run in runs)
    tags = {
        "lbench.kind": "cell",
        "lbench.cell": cell.fingerprint,
        "lbench.cell_id": cell.cell_id,
        "lbench.status": ", ".join(f"{n} {status}" for status, n in counts.items()),
        "lbench.params_inf": str(cell.params_inf),
        "lbench.params_aux": str(cell.params_aux),
        "lbench.params_fix": str(cell.params_fix),
        **{f"lbench.claims.{key}": str(value) for key, value in cell.claims.items()},
        "lbench.per_block": per_block_text(cell.per_block or {}),
        **_audit_tags(
            worst(run.audit for run in runs), all_contradictions(run.contradictions for run in runs)
        ),
        **_study_tags(members),
    }
    order = ("running", "finished", "diverged", "failed", "pruned", "killed")
    status = next((status for status in order if counts[status]), "killed")
    return RunView(
        name=cell.cell_id,
        status=mlflow_status(status),
        started=started,
        ended=ended,
        tags=cut(tags),
        parameters=parameters(cell),
        points=points,
    )


def _study_tags(members: Iterable[Member]) -> dict[str, str]:
    """Return the tags for studies, points and trials that runs belong to; empty without any."""
    members = list(members)
    if not members:
        return {}
    values_of_tag = {
        "study": [member.study for member in members],
        "point": [member.point for member in members],
        "role": [member.role for member in members],
        "trial": [str(member.trial) for member in members if member.trial >= 0],
    }
    return {
        f"lbench.{name}": ", ".join(dict.fromkeys(values)) for name, values in values_of_tag.items()
    }


def _audit_tags(audit: Mapping[str, Any] | None, contradictions: Iterable[str]) -> dict[str, str]:
    """Return the tags for contradictions and for the measured value of each claim."""
    measured = {name: entry["measured"] for name, entry in (audit or {}).items()}
    return {
        **{f"audit.{name}": "" if v is None else str(v) for name, v in measured.items()},
        "audit.contradictions": "\n".join(contradictions),
    }


def mlflow_status(status: str) -> str:
    """Return MLflow's status for a status of lbench."""
    words = {"running": "RUNNING", "finished": "FINISHED", "pruned": "KILLED", "killed": "KILLED"}
    return words.get(status, "FAILED")


def parameters(cell: CellRow) -> dict[str, str]:
    """Return the spec as a flat dictionary: ``rule``, ``rule.leadership``, ``recipe.lr`` etc."""
    shown: dict[str, str] = {}
    for path, value in _leaves(cell.spec):
        if value in (None, "", [], {}):
            continue
        short = [part for part in path if part not in ("config", "options", "budget", "name")]
        key = ".".join(short)
        # A rule may have an option "code": the longer name then avoids the conflict.
        key = ".".join(path) if key in shown else key
        key = re.sub(r"[^\w\-./ ]", "_", key)[:LONGEST_KEY]
        shown[key] = str(value)[:LONGEST_PARAMETER]
    return shown


def metrics(cell: CellRow, runs: Iterable[RunRow]) -> dict[str, float | None]:
    """Return the metrics of a configuration over its finished seeds; None where nothing is known.

    They are the mean, the standard deviation and the interval of the test error, and the means of
    all quantities with a title, in the units of the quantities.

    Args:
        cell: the configuration.
        runs: the latest attempt of each seed.
    """
    runs = list(runs)
    finished = [run for run in runs if run.status == "finished"]
    test = error_interval((run.test_error for run in finished), cell.test_examples)
    ends = (test.mean, test.sd, test.low, test.high) if test else (None,) * 4
    names = ("test_error_mean", "test_error_sd", "test_error_ci95_low", "test_error_ci95_high")
    values: dict[str, float | None] = dict(zip(names, ends, strict=True))
    for quantity in QUANTITIES:
        if quantity.title:
            summary = interval_of_known(run.measured[quantity.name] for run in finished)
            values[f"{quantity.name}_mean"] = None if summary is None else summary.mean
    return {**values, "n": float(len(finished)), "not_finished": float(len(runs) - len(finished))}


def curves(run: RunRow) -> tuple[list[Point], str]:
    """Return the curves of a run's epoch log, each point at the time when its epoch ended.

    Returns:
        The points, and a sentence if the epoch log cannot be read: there are no points then.
    """
    points: list[Point] = []
    try:
        for line in RunDir(run.run_dir).epochs():
            when = milliseconds((run.started or 0.0) + sum(line["seconds"].values()))
            for key in CURVES:
                value = line.get(key)
                if value is not None and math.isfinite(value):
                    points.append((key, rounded(value), when, int(line["epoch"])))
    except DAMAGE as error:
        return [], f"metrics.jsonl cannot be read ({type(error).__name__}: {error})"
    return points, ""


def mean_curves(runs: list[RunRow]) -> list[Point]:
    """Return the mean over runs, with the standard deviation for at least two runs.

    The curves have the epochs that all runs reached.
    """
    values: dict[tuple[str, int], list[Point]] = {}
    for run in runs:
        for point in curves(run)[0]:
            if point[0] in MEAN_CURVES:
                values.setdefault((point[0], point[3]), []).append(point)
    points: list[Point] = []
    for (key, epoch), group in values.items():
        if len(group) < len(runs):
            continue
        when, numbers = max(point[2] for point in group), [point[1] for point in group]
        points.append((key, rounded(statistics.fmean(numbers)), when, epoch))
        if key == "val_error" and len(numbers) > 1:
            points.append((f"{key}_sd", rounded(statistics.stdev(numbers)), when, epoch))
    return points


def rounded(value: float) -> float:
    """Round to six significant digits, because MLflow shows all digits that it gets."""
    return value if value == int(value) else float(f"{value:.6g}")


def milliseconds(seconds: float | None) -> int:
    """Return seconds in MLflow's unit of time; 0 for None."""
    return round(1000 * (seconds or 0.0))


def cut(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the non-empty tags, cut to the length that MLflow accepts."""
    return {key: value[:LONGEST_TAG] for key, value in tags.items() if value}


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value
