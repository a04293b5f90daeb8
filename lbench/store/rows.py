"""What the record answers with: plain values that outlive any connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class CellRow:
    """A cell.

    Attributes:
        fingerprint: SHA-256 (hex) of the spec without the seed.
        cell_id: readable, such as ``lfnn_l/mnist/mlp-275k/leadership=0.7@1a2b3c4d``.
        rule_code: digest of the rule's code.
        test_examples: how many the test set has; None when the run directory does not say.
        spec: what was asked for, as in ``spec.json``.
        params_inf: parameters that prediction reaches; ``params_aux`` are the other trained
            ones, ``params_fix`` the fixed random ones.
        mlflow_run_id: the parent run in MLflow; None until published.
    """

    fingerprint: str
    cell_id: str
    rule: str
    rule_code: str
    dataset: str
    dataset_title: str
    variant: str
    data_digest: str
    network: str
    blocks: int | None
    protocol: str
    test_examples: int | None
    spec: dict[str, Any]
    params_inf: int | None
    params_aux: int | None
    params_fix: int | None
    claims: dict[str, Any]
    mlflow_run_id: str | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One attempt at a cell with a seed.

    Attributes:
        fingerprint: SHA-256 (hex) of cell and seed.
        cell: fingerprint of the cell.
        status: ``running``, ``finished``, ``diverged``, ``failed``, ``pruned`` or ``killed``.
        train_error: percent, as every error here; None where there is no finite number.
        step_ms: milliseconds per training step, from the quickest stretches of the run.
        core_share: share of the training time in which the run had a core; None where unknown.
        step_flops: floating-point operations of a training step, in its matrix products.
        predict_flops: the same of predicting one example.
        test_reads: how often this run read the test set.
        audit: by claim what was ``claimed`` and ``measured``; None where nothing was measured.
        contradictions: claims that do not hold, each with what was seen.
        started: Unix time, seconds. ``ended`` of a killed run is when it last wrote.
    """

    fingerprint: str
    attempt: int
    cell: str
    seed: int
    status: str
    reason: str | None
    train_error: float | None
    val_error: float | None
    test_error: float | None
    test_error_at_best_val: float | None
    best_epoch: int | None
    seconds_training: float | None
    seconds_evaluation: float | None
    seconds_other: float | None
    step_ms: float | None
    core_share: float | None
    peak_memory_mib: float | None
    step_memory_mib: float | None
    step_flops: float | None
    predict_flops: float | None
    steps: int | None
    epochs: int | None
    test_reads: int
    audit: dict[str, Any] | None
    contradictions: list[str]
    environment: dict[str, Any]
    run_dir: Path
    started: float | None
    ended: float | None
    mlflow_run_id: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """A run's place in a study.

    Attributes:
        study: its name.
        point: the point's key.
        role: ``trial`` of a search, ``final`` for a run of the table, or ``defaults`` for one that
            what a search chose is compared with.
        trial: number of the trial; of a final run the trial that chose it, -1 without one.
        seed: of the run.
        cell: fingerprint.
        run: fingerprint.
        search: which of the searches that the point has had; "" without one.
    """

    study: str
    point: str
    role: str
    trial: int
    seed: int
    cell: str
    run: str
    search: str = ""


Summarise = Callable[[CellRow, list[RunRow]], Mapping[str, float | None]]
"""From a cell's runs, the latest attempt of each seed, to the metrics of its parent run."""
