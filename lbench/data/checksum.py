"""Check sums of published files, and what a copy is called because of them."""

from __future__ import annotations

import hashlib
from pathlib import Path


def md5(data: bytes) -> str:
    """Return the MD5 in hex."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def file_md5(path: Path) -> str:
    """Return the MD5 of a file in hex, without reading it into memory at once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def title_and_variant(title: str, published: bool | None) -> tuple[str, str]:
    """Return the title and the variant of a copy.

    Args:
        title: the title of the dataset.
        published: whether the files have the published check sums; None where none are known for
            the files as they are.
    """
    if published is None:
        return title, "not verified"
    return (title, "canonical") if published else (f"{title} (modified)", "modified")
