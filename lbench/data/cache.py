"""Decoded data in one memory-mapped file, which is written once and used only if it is complete.

A file has a magic number, the length of the header, the header (JSON) and padding; then training
pixels, test pixels, training labels and test labels, each at a multiple of 4096 bytes. It gets
its name by a rename after fsync, and its length must be the one in the header.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import platformdirs

from lbench.data.cache_files import hold, limit, make_room, touch
from lbench.data.content import finish
from lbench.data.dataset import Dataset, Raw, Split
from lbench.data.lock import locked
from lbench.data.paths import expanded
from lbench.errors import DataError

MAGIC = b"LBENCHD1"
PAGE = 4096
LOCK = "cache.lock"
"""The lock of the directory: one process at a time makes room and writes."""


def directory(cache_dir: Path | str | None = None) -> Path:
    """Return the directory of decoded data.

    It is ``cache_dir``, else ``LBENCH_CACHE``, else in the user's cache directory.
    """
    chosen = cache_dir or os.environ.get("LBENCH_CACHE")
    if chosen:
        return expanded(chosen, "the cache (LBENCH_CACHE)")
    return Path(platformdirs.user_cache_dir("lbench")) / "decoded"


def fetch(path: Path, name: str, build: Callable[[], Raw]) -> Dataset:
    """Open ``path``; if it is absent or incomplete, write it from ``build()`` first.

    One process builds; others wait and open the file that it wrote.

    Raises:
        DataError: ``build`` raised it, the data is larger than the limit of the cache, or the
            cache cannot be written.
        UsageError: the limit is no size.
    """
    if (dataset := load(path)) is not None:
        touch(path)
        return dataset
    allowed = limit()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), f"it decodes {name} into {path}"):
            if (dataset := load(path)) is not None:
                return dataset
            write(path, finish(name, build()), allowed)
    except OSError as error:
        raise unwritable(path, error) from error
    dataset = load(path)
    if dataset is None:
        raise DataError(f"The cache {path} cannot be read back.", "Check the disk; try again.")
    return dataset


def unwritable(path: Path, error: OSError) -> DataError:
    """Return the error for a cache file that the system does not let lbench write."""
    return DataError(
        f"The cache {path} cannot be written: {error.strerror or error}.",
        "Name a directory with room and write permission in LBENCH_CACHE.",
    )


def load(path: Path) -> Dataset | None:
    """Open ``path`` with memory-mapped images; None if it is absent, cut short or no cache."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
            size = os.fstat(file.fileno()).st_size
            if header is None or size != header["bytes"] or not hold(file):
                return None
            # The mapping has a copy of the file's handle, and with it the lock.
            pages = np.memmap(file, dtype=np.uint8, mode="r").view(np.ndarray)
        splits = {}
        for which, spec in header["splits"].items():
            shape, at, labels_at = tuple(spec["shape"]), spec["images"], spec["labels"]
            images = pages[at : at + math.prod(shape)].reshape(shape)
            labels = pages[labels_at : labels_at + 8 * shape[0]].view("<i8").astype(np.int64)
            splits[which] = Split(images, labels)
        return Dataset(
            name=header["name"],
            title=header["title"],
            variant=header["variant"],
            digest=header["digest"],
            classes=tuple(header["classes"]),
            mean=tuple(header["mean"]),
            std=tuple(header["std"]),
            train=splits["train"],
            test=splits["test"],
            notes=tuple(header["notes"]),
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None


def read_header(file: IO[bytes]) -> dict[str, Any] | None:
    """Read the header; return None if this is no cache file.

    Raises:
        ValueError: the header is damaged JSON.
    """
    start = file.read(16)
    if len(start) < 16 or start[:8] != MAGIC:
        return None
    header = json.loads(file.read(int.from_bytes(start[8:], "little")))
    return header if isinstance(header, dict) else None


def write(path: Path, dataset: Dataset, allowed: int | None = None) -> None:
    """Write ``dataset`` under ``path``, after making room for it; the caller holds its lock.

    Args:
        path: the file.
        dataset: its content.
        allowed: the limit of all decoded files together, in bytes; None for none.

    Raises:
        DataError: it is larger than the limit of the cache.
        OSError: it cannot be written.
    """
    splits = {"train": dataset.train, "test": dataset.test}
    header: dict[str, Any] = {
        "name": dataset.name,
        "title": dataset.title,
        "variant": dataset.variant,
        "digest": dataset.digest,
        "classes": dataset.classes,
        "mean": dataset.mean,
        "std": dataset.std,
        "notes": dataset.notes,
    }
    # Offsets depend on the header's own length; 16 times it leaves room for them.
    at = round_up(PAGE + 16 * len(json.dumps(header)))
    specs: dict[str, dict[str, Any]] = {}
    for which, split in splits.items():
        specs[which] = {"shape": split.images.shape, "images": at}
        at = round_up(at + split.images.size)
    for which, split in splits.items():
        specs[which]["labels"] = at
        at = round_up(at + 8 * len(split))
    text = json.dumps({**header, "splits": specs, "bytes": at}).encode()

    with locked(path.parent / LOCK, "it writes decoded data"):
        make_room(path, at, allowed)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(MAGIC + len(text).to_bytes(8, "little") + text)
                for which, split in splits.items():
                    file.seek(specs[which]["images"])
                    file.write(np.ascontiguousarray(split.images).data)
                for which, split in splits.items():
                    file.seek(specs[which]["labels"])
                    file.write(np.ascontiguousarray(split.labels, dtype="<i8").data)
                file.truncate(at)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename durable against a power cut, where the system offers that."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def round_up(size: int) -> int:
    """Round a size up to whole pages."""
    return -(-size // PAGE) * PAGE
