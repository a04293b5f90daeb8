"""Functions behind ``lbench data status``, ``prepare`` and ``clear``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lbench.data.dataset import Dataset, MissingDataError
from lbench.data.source import Source
from lbench.errors import DataError, printable


def status(
    source: Source, data_dir: Path | str | None = None, cache_dir: Path | str | None = None
) -> dict[str, Any]:
    """Return the state of one dataset as JSON-able values.

    It reads no raw file, and missing data raises nothing. ``state`` is ``"ready"`` (can be opened
    at once), ``"found"`` (is decoded on first use), ``"missing"`` or ``"damaged"``; the last two
    come with ``message`` and ``hint``. Values that are not known before decoding are None.

    Raises:
        UsageError: ``data_dir`` is not a directory.
    """
    report: dict[str, Any] = {
        "name": source.name,
        "title": source.title,
        "state": "missing",
        "options": dict(source.options()),
        "path": None,
        "layout": None,
        "variant": None,
        "digest": None,
        "train": None,
        "test": None,
        "shape": None,
        "classes": None,
        "cache": None,
        "cache_bytes": None,
        "downloadable": bool(source.torchvision),
        "notes": [],
        "message": None,
        "hint": None,
    }
    try:
        location = source.find(data_dir)
        report |= {
            "state": "found",
            "path": printable(str(location.root)),
            "layout": location.layout,
            "notes": list(location.notes),
        }
        dataset = source.ready(location, cache_dir)
        if source.cached and dataset is not None:
            cache = source.cache_path(location, cache_dir)
            report |= {"cache": str(cache), "cache_bytes": cache.stat().st_size}
    except DataError as error:
        state = "missing" if isinstance(error, MissingDataError) else "damaged"
        return report | {"state": state, "message": error.message, "hint": error.hint}
    if dataset is None:
        return report
    return report | {
        "state": "ready",
        "title": dataset.title,
        "variant": dataset.variant,
        "digest": dataset.digest,
        "train": len(dataset.train),
        "test": len(dataset.test),
        "shape": list(dataset.shape),
        "classes": dataset.num_classes,
        "notes": list(dataset.notes),
    }


def prepare(
    source: Source,
    data_dir: Path | str | None = None,
    cache_dir: Path | str | None = None,
    *,
    download: bool = True,
) -> Dataset:
    """Find or download, decode into the cache, and open. Raises DataError as ``load`` does."""
    return source.load(data_dir, cache_dir=cache_dir, download=download)
