"""What MLflow shows of a cell and of a run: names, parameters, curves; no MLflow in here."""

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

from lbench.rundir import RunDir
from lbench.store.audits import together, worst
from lbench.store.reading import DAMAGE
from lbench.store.rows import CellRow, Member, RunRow

CURVES = ("train_loss", "val_loss", "val_error", "lr")
MEAN_CURVES = ("train_loss", "val_loss", "val_error")
FINALS = {
    "train_error": "train_error",
    "test_error": "test_error",
    "test_error_at_best_val": "test_error_at_best_val",
    "best_epoch": "best_epoch",
    # MLflow draws these on a tab of their own, so that curves and errors stay among themselves.
    "epochs": "system/epochs",
    "steps": "system/steps",
    "seconds_training": "system/seconds_training",
    "seconds_evaluation": "system/seconds_evaluation",
    "seconds_other": "system/seconds_other",
    "step_ms": "system/step_ms",
    "core_share": "system/core_share",
    "peak_memory_mib": "system/peak_memory_mib",
    "step_memory_mib": "system/step_memory_mib",
    "step_flops": "system/step_flops",
    "predict_flops": "system/predict_flops",
}
# What MLflow refuses beyond.
LONGEST_PARAMETER, LONGEST_TAG, LONGEST_KEY = 6000, 5000, 250

Point = tuple[str, float, int, int]
"""Metric name, value, Unix time in milliseconds, epoch."""
Leaf = tuple[tuple[str, ...], Any]


@dataclass(frozen=True)
class Shown:
    """One run as MLflow shall show it. Times are Unix milliseconds."""

    name: str
    status: str
    started: int
    ended: int | None
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    points: list[Point] = field(default_factory=list)

    def digest(self) -> str:
        """Changes when anything of this does."""
        content = [self.name, self.status, self.ended, dict(self.tags), self.points]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def child(cell: CellRow, run: RunRow, members: Iterable[Member] = ()) -> Shown:
    """A run: its curves over epochs, its final numbers, its outcome, its places in studies."""
    started = milliseconds(run.started)
    ended = None if run.ended is None else milliseconds(run.ended)
    final = ended or started
    points, problem = curves(run)
    last_epoch = max((point[3] for point in points), default=0)
    for field_name, key in FINALS.items():
        value = getattr(run, field_name)
        if value is not None:
            points.append((key, rounded(value), final, last_epoch))
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
    return Shown(
        name=f"seed {run.seed}{attempt}",
        status=mlflow_status(run.status),
        started=started,
        ended=ended,
        tags=cut(tags),
        parameters={"seed": str(run.seed), **parameters(cell)},
        points=points,
    )


def parent(
    cell: CellRow,
    runs: list[RunRow],
    summary: Mapping[str, float | None],
    members: Iterable[Member] = (),
) -> Shown:
    """A cell: the summary over its seeds, and the mean curve of the finished ones."""
    started = min((milliseconds(run.started) for run in runs), default=0)
    running = any(run.status == "running" for run in runs)
    ends = [milliseconds(run.ended) for run in runs if run.ended is not None]
    ended = None if running else max(ends, default=None)
    points = mean_curves([run for run in runs if run.status == "finished"])
    final, last_epoch = ended or max(ends, default=started), max((p[3] for p in points), default=0)
    for key, value in summary.items():
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
        **_audit_tags(
            worst(run.audit for run in runs), together(run.contradictions for run in runs)
        ),
        **_study_tags(members),
    }
    order = ("running", "finished", "diverged", "failed", "pruned", "killed")
    status = next((status for status in order if counts[status]), "killed")
    return Shown(
        name=cell.cell_id,
        status=mlflow_status(status),
        started=started,
        ended=ended,
        tags=cut(tags),
        parameters=parameters(cell),
        points=points,
    )


def _study_tags(members: Iterable[Member]) -> dict[str, str]:
    """Studies, points and trials that runs belong to; empty for none."""
    found = list(members)
    if not found:
        return {}
    values = {
        "study": [member.study for member in found],
        "point": [member.point for member in found],
        "role": [member.role for member in found],
        "trial": [str(member.trial) for member in found if member.trial >= 0],
    }
    return {f"lbench.{name}": ", ".join(dict.fromkeys(each)) for name, each in values.items()}


def _audit_tags(audit: Mapping[str, Any] | None, contradictions: Iterable[str]) -> dict[str, str]:
    """What was measured, by claim; empty where nothing was."""
    measured = {name: entry["measured"] for name, entry in (audit or {}).items()}
    return {
        **{f"audit.{name}": "" if v is None else str(v) for name, v in measured.items()},
        "audit.contradictions": "\n".join(contradictions),
    }


def mlflow_status(status: str) -> str:
    """MLflow's word for ours."""
    words = {"running": "RUNNING", "finished": "FINISHED", "pruned": "KILLED", "killed": "KILLED"}
    return words.get(status, "FAILED")


def parameters(cell: CellRow) -> dict[str, str]:
    """The spec, flat: ``rule``, ``rule.leadership``, ``recipe.lr``, ``task.epochs`` and so on."""
    shown: dict[str, str] = {}
    for path, value in _leaves(cell.spec):
        if value in (None, "", [], {}):
            continue
        short = [part for part in path if part not in ("config", "options", "budget", "name")]
        key = ".".join(short)
        # A rule may call an option "code": then the longer name tells them apart.
        key = ".".join(path) if key in shown else key
        key = re.sub(r"[^\w\-./ ]", "_", key)[:LONGEST_KEY]
        shown[key] = str(value)[:LONGEST_PARAMETER]
    return shown


def curves(run: RunRow) -> tuple[list[Point], str]:
    """The journal's curves, each point at the time when its epoch ended.

    Returns:
        The points, and what is wrong with the journal: no points then.
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
    """Mean over the runs, and standard deviation from two on, at the epochs that all reached."""
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
    """Six significant digits: MLflow shows whatever it is given, all seventeen of them."""
    return value if value == int(value) else float(f"{value:.6g}")


def milliseconds(seconds: float | None) -> int:
    """MLflow's clock."""
    return round(1000 * (seconds or 0.0))


def cut(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags without the empty ones, no longer than MLflow takes."""
    return {key: value[:LONGEST_TAG] for key, value in tags.items() if value}


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value
