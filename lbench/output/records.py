"""Flat objects as CSV and parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Records = Sequence[Mapping[str, Any]]


def write_csv(path: Path, records: Records) -> None:
    """Write one line per object; a value that is None or not finite stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names(records), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in record.items()} for record in records)


def write_parquet(path: Path, records: Records) -> None:
    """Write one row per object; a value that is None or not finite is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [_finite(record.get(name)) for record in records] for name in names(records)}
    pq.write_table(pa.table(columns), path)


def names(records: Records) -> list[str]:
    """Return the names of all objects, in the order of their first appearance."""
    return list(dict.fromkeys(name for record in records for name in record))


def _cell(value: Any) -> Any:
    value = _finite(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
