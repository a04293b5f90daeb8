"""Checkpoints: checksummed, renamed into place so that none is incomplete, two kept."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from lbench.rundir import write_bytes

SLOTS = ("checkpoint-0.pt", "checkpoint-1.pt")


def save(directory: Path, number: int, state: dict[str, Any]) -> None:
    """Write checkpoint ``number``; the previous one stays."""
    directory.mkdir(parents=True, exist_ok=True)
    write_tensors(directory / SLOTS[number % 2], {"number": number, "state": state})


def load(directory: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the state of the newest intact checkpoint, and a sentence per damaged one."""
    intact: list[dict[str, Any]] = []
    damaged = []
    for slot in SLOTS:
        path = directory / slot
        if path.exists():
            try:
                intact.append(read_tensors(path))
            except ValueError as error:
                damaged.append(str(error))
    if not intact:
        return None, damaged
    newest = max(intact, key=lambda saved: int(saved["number"]))
    return {"number": newest["number"], **newest["state"]}, damaged


def clear(directory: Path) -> None:
    """Remove both checkpoints."""
    for slot in SLOTS:
        (directory / slot).unlink(missing_ok=True)


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, preceded by their SHA-256."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    write_bytes(path, hashlib.sha256(payload).digest() + payload)


def read_tensors(path: Path) -> dict[str, Any]:
    """Return what :func:`write_tensors` wrote, on the CPU.

    Raises:
        ValueError: the file is damaged.
    """
    content = path.read_bytes()
    checksum, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != checksum:
        raise ValueError(f"{path} is damaged: its checksum does not match.")
    loaded: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return loaded
