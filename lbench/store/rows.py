"""The rows of the record as plain values, which stay valid without a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast


class _Row:
    __slots__ = ()

    def select(self, *names: str) -> dict[str, Any]:
        """Return the values of some fields by name."""
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class CellRow(_Row):
    """A configuration.

    Attributes:
        fingerprint: SHA-256 (hex) of the spec without the seed.
        cell_id: readable id, such as ``lfnn_l/mnist/mlp-275k/leadership=0.7@1a2b3c4d``.
        rule_code: digest of the rule's code.
        test_examples: number of test examples; None if the run directory does not have it.
        spec: spec of the configuration, as in ``spec.json``.
        params_inf: number of parameters that a prediction uses; ``params_aux`` are the other
            trained ones, ``params_fix`` the fixed random ones.
        per_block: numbers of the rule per block, by name, such as workers and leaders; None if
            the run directory does not have them.
        mlflow_run_id: id of the parent run in MLflow; None until published.
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
    per_block: dict[str, Any] | None
    mlflow_run_id: str | None


@dataclass(frozen=True, slots=True)
class RunRow(_Row):
    """One attempt at a run.

    Attributes:
        fingerprint: SHA-256 (hex) of configuration and seed.
        cell: fingerprint of the configuration.
        status: ``running``, ``finished``, ``diverged``, ``failed``, ``pruned`` or ``killed``.
        measured: value of each quantity in ``lbench.quantities`` by name; None where there is no
            finite number.
        audit: the ``claimed`` and ``measured`` value of each claim; None without an audit.
        contradictions: a sentence per claim that the measurements contradict.
        started: Unix time, seconds. ``ended`` of a killed run is the time of its last write.
    """

    fingerprint: str
    attempt: int
    cell: str
    seed: int
    status: str
    reason: str | None
    measured: Mapping[str, Any]
    audit: dict[str, Any] | None
    contradictions: list[str]
    environment: dict[str, Any]
    run_dir: Path
    started: float | None
    ended: float | None
    mlflow_run_id: str | None

    @property
    def val_error(self) -> float | None:
        """Return the validation error in percent."""
        return cast("float | None", self.measured["val_error"])

    @property
    def test_error(self) -> float | None:
        """Return the test error in percent."""
        return cast("float | None", self.measured["test_error"])

    @property
    def test_reads(self) -> int:
        """Return the number of times that the run read the test set."""
        return cast("int", self.measured["test_reads"])

    def as_dict(self) -> dict[str, Any]:
        """Return a flat object with every field and every measured quantity."""
        names = (field.name for field in fields(self) if field.name != "measured")
        return {**self.select(*names), **self.measured}


@dataclass(frozen=True, slots=True)
class Member:
    """The membership of a run in a study.

    Attributes:
        study: name of the study.
        point: key of the point.
        role: ``trial`` for a trial of a search, ``final`` for a run of the table, or ``defaults``
            for a run with which the choice of a search is compared.
        trial: number of the trial; for a final run the trial that chose it, -1 without one.
        seed: seed of the run.
        cell: fingerprint of the configuration.
        run: fingerprint of the run.
        search: the search, of those that the point has had; "" without one.
    """

    study: str
    point: str
    role: str
    trial: int
    seed: int
    cell: str
    run: str
    search: str = ""


Pairs = Sequence[tuple[CellRow, Sequence[RunRow]]]
"""Configurations with the latest attempt of each of their seeds."""
