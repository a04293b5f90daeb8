"""The record's tables, in the database that MLflow's tables lie in too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION = 7
"""Of these tables; raised when an older lbench could no longer read them."""


class Base(DeclarativeBase):
    """Every table is called ``lbench_…``: MLflow and Alembic own other names."""

    type_annotation_map = {  # noqa: RUF012
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        float: Float(53),
    }


class Schema(Base):
    """One row: the version that the tables were written by."""

    __tablename__ = "lbench_schema"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Cell(Base):
    """A rule with its config, recipe, network and task: one line of a table."""

    __tablename__ = "lbench_cells"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    cell_id: Mapped[str] = mapped_column(index=True)
    rule: Mapped[str] = mapped_column(index=True)
    rule_code: Mapped[str]
    dataset: Mapped[str]
    dataset_title: Mapped[str]
    variant: Mapped[str]
    data_digest: Mapped[str]
    network: Mapped[str]
    blocks: Mapped[int | None]
    protocol: Mapped[str]
    test_examples: Mapped[int | None]
    spec: Mapped[dict[str, Any]]
    params_inf: Mapped[int | None]
    params_aux: Mapped[int | None]
    params_fix: Mapped[int | None]
    claims: Mapped[dict[str, Any]]
    mlflow_run_id: Mapped[str | None]


class Run(Base):
    """One attempt at a cell with a seed. Errors in percent, times in seconds; NaN is null."""

    __tablename__ = "lbench_runs"
    __table_args__ = (UniqueConstraint("fingerprint", "attempt"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int]
    cell: Mapped[str] = mapped_column(ForeignKey("lbench_cells.fingerprint"), index=True)
    seed: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    train_error: Mapped[float | None]
    val_error: Mapped[float | None]
    test_error: Mapped[float | None]
    test_error_at_best_val: Mapped[float | None]
    best_epoch: Mapped[int | None]
    seconds_training: Mapped[float | None]
    seconds_evaluation: Mapped[float | None]
    seconds_other: Mapped[float | None]
    step_ms: Mapped[float | None]
    core_share: Mapped[float | None]
    peak_memory_mib: Mapped[float | None]
    step_memory_mib: Mapped[float | None]
    step_flops: Mapped[float | None]
    predict_flops: Mapped[float | None]
    steps: Mapped[int | None]
    epochs: Mapped[int | None]
    test_reads: Mapped[int]
    audit: Mapped[dict[str, Any] | None]
    contradictions: Mapped[list[str] | None]
    environment: Mapped[dict[str, Any]]
    run_dir: Mapped[str]
    started: Mapped[float | None]
    ended: Mapped[float | None]
    mlflow_run_id: Mapped[str | None]


class Member(Base):
    """A run's place in a study; one run may have places in several."""

    __tablename__ = "lbench_members"
    __table_args__ = (UniqueConstraint("study", "point", "search", "role", "trial", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(index=True)
    point: Mapped[str]
    search: Mapped[str] = mapped_column(String(8))
    role: Mapped[str]
    trial: Mapped[int]
    seed: Mapped[int]
    cell: Mapped[str] = mapped_column(String(64), index=True)
    run: Mapped[str] = mapped_column(String(64))


UPGRADES = {
    1: (
        "ALTER TABLE lbench_runs ADD COLUMN audit JSON",
        "ALTER TABLE lbench_runs ADD COLUMN contradictions JSON",
    ),
    2: ("ALTER TABLE lbench_runs ADD COLUMN step_memory_mib FLOAT",),
    # New tables need no statement: those that are missing are created.
    3: ("ALTER TABLE lbench_runs ADD COLUMN step_flops FLOAT",),
    # Made anew: `lbench sync` and a study that goes on fill it from the journals.
    4: ("DROP TABLE IF EXISTS lbench_members",),
    5: ("ALTER TABLE lbench_runs ADD COLUMN core_share FLOAT",),
    6: ("ALTER TABLE lbench_runs ADD COLUMN predict_flops FLOAT",),
}
"""By version what makes it the next one."""
