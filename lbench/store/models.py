"""The record's tables, in the same database as MLflow's tables.

Their columns are the fields of the rows in ``rows.py`` and the measured quantities.
"""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

from lbench.quantities import QUANTITIES, Quantity
from lbench.store.rows import CellRow, Member, RunRow

VERSION = 7
"""Version of these tables; increased when an older lbench can no longer read them."""
UPGRADES = {
    # The table is created again: `lbench sync` and studies fill it from their memberships.
    4: ("DROP TABLE IF EXISTS lbench_members",),
}
"""The statements that upgrade a version to the next one.

New tables and new columns need no statement: those that an older store lacks are added.
"""
LENGTHS = {"fingerprint": 64, "cell": 64, "run": 64, "search": 8}
INDEXED = {
    "lbench_cells": ("cell_id", "rule"),
    "lbench_runs": ("cell",),
    "lbench_members": ("study", "cell"),
}


def _column(table: str, name: str, hint: Any) -> Column[Any]:
    """Return the column of a row's field; a field that can be None is nullable."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    optional = NoneType in get_args(hint)
    kind = kinds[0] if optional else hint
    text = String(LENGTHS.get(name))
    plain: dict[Any, Any] = {str: text, int: Integer(), float: Float(53), Path: text}
    # A list is null in rows of an older lbench.
    nullable = optional or get_origin(kind) is list
    return Column(
        name,
        plain.get(kind, JSON(none_as_null=True)),
        nullable=nullable,
        index=name in INDEXED[table],
    )


def _quantity(quantity: Quantity) -> Column[Any]:
    kind = Integer() if quantity.whole else Float(53)
    return Column(quantity.name, kind, nullable=quantity.default is None)


def _table(name: str, row: type, *more: SchemaItem) -> Table:
    """Return the table of a dataclass of rows. All names begin with ``lbench_``.

    MLflow and Alembic use other names.
    """
    hints = get_type_hints(row)
    hints.pop("measured", None)
    fields = [_column(name, field, hint) for field, hint in hints.items()]
    return Table(name, METADATA, Column("id", Integer, primary_key=True), *fields, *more)


METADATA = MetaData()
SCHEMA = Table(
    "lbench_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False)
)
"""The version of the tables, in one row."""
CELLS = _table("lbench_cells", CellRow, UniqueConstraint("fingerprint"))
"""The configurations: rule, options, recipe, network and task."""
RUNS = _table(
    "lbench_runs",
    RunRow,
    *map(_quantity, QUANTITIES),
    ForeignKeyConstraint(["cell"], ["lbench_cells.fingerprint"]),
    UniqueConstraint("fingerprint", "attempt"),
)
"""The attempts at runs. Errors are percentages, times are in seconds, NaN is null."""
MEMBERS = _table(
    "lbench_members",
    Member,
    UniqueConstraint("study", "point", "search", "role", "trial", "seed"),
)
"""The memberships of runs in studies; one run may belong to several."""
