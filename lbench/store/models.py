"""The record's tables, in the same database as MLflow's tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION = 7
"""Version of these tables; increased when an older lbench can no longer read them."""


class Base(DeclarativeBase):
    """Base of the tables, which are all named ``lbench_…``: MLflow and Alembic use other names."""

    type_annotation_map = {  # noqa: RUF012
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        float: Float(53),
    }


class Schema(Base):
    """The version of the tables, in one row."""

    __tablename__ = "lbench_schema"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class CellTable(Base):
    """The configurations: rule, options, recipe, network and task."""

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


class RunTable(Base):
    """The attempts at runs. Errors are percentages, times are in seconds, NaN is null."""

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


class MemberTable(Base):
    """The memberships of runs in studies; one run may belong to several."""

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
    # New tables need no statement: missing tables are created.
    3: ("ALTER TABLE lbench_runs ADD COLUMN step_flops FLOAT",),
    # The table is created again: `lbench sync` and studies fill it from their memberships.
    4: ("DROP TABLE IF EXISTS lbench_members",),
    5: ("ALTER TABLE lbench_runs ADD COLUMN core_share FLOAT",),
    6: ("ALTER TABLE lbench_runs ADD COLUMN predict_flops FLOAT",),
}
"""The statements that upgrade each version to the next one."""
