"""Run directory: all files that a run writes; the store and MLflow are built from them.

================================  ==================================================================
``spec.json``                     the configuration and the seed, written before the first step
``metrics.jsonl``                 one line per epoch, appended
``checkpoint-0|1.pt``             to resume from; removed when the run has ended, unless pruned
``result.json``                   status and results; written last
``weights.safetensors``           the rule's state after the last step, see ``training/weights.py``
``weights-best-val.safetensors``  the same at the epoch of lowest validation error (strict)
``test_logits.npy``               float16, (test examples, classes), with the last weights
``test_logits_best_val.npy``      the same with the best-validation weights
``test_labels.npy``               int16, (test examples,), in the same order
``val_logits.npy``                in a trial: logits of the validation split with the last weights
``probes/NAME.parquet``           the table of a probe
``error.txt``                     the traceback of a failed run
``owner.json``                    the process that has or had the lock
================================  ==================================================================
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from lbench.errors import DamagedError, DeniedError, LockedError
from lbench.run_files import Result, problem

UNREADABLE = (errno.EISDIR, errno.ELOOP, errno.ENOTDIR)
"""Errors that mean that the file is damaged; others are problems of the system."""


class RunDir:
    """The directory of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def epoch_log(self) -> Path:
        """Return the path of the epoch log, which has one line of JSON per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def traceback(self) -> Path:
        """Return the path of the traceback of the error that ended the run."""
        return self.path / "error.txt"

    def probe(self, name: str) -> Path:
        """Return the path of a probe's table."""
        return self.path / "probes" / f"{name}.parquet"

    def spec(self) -> dict[str, Any] | None:
        """Return the content of ``spec.json``; None while it is not written.

        Raises:
            DamagedError: the file is damaged.
        """
        return read_json(self.path / "spec.json")

    def result(self) -> dict[str, Any] | None:
        """Return the content of ``result.json``; None while the run has not ended.

        Raises:
            DamagedError: the file is damaged, or lbench has not written it.
        """
        path = self.path / "result.json"
        result = read_json(path)
        if result is not None and (wrong := problem(Result, result)):
            raise damaged(path, wrong)
        return result

    def epochs(self) -> list[dict[str, Any]]:
        """Return the rows of the epoch log, without a last line that is incomplete.

        Raises:
            DamagedError: a line is damaged.
        """
        rows = []
        for line in (read_bytes(self.epoch_log) or b"").splitlines(keepends=True):
            if line.endswith(b"\n"):
                rows.append(_parsed(self.epoch_log, line))
        return rows

    def held(self) -> bool:
        """Return whether a running process has the lock of this directory."""
        path = self.path / "lock"
        if not path.exists():
            return False
        if not os.access(path, os.W_OK):
            return _held_elsewhere(path)
        lock = filelock.FileLock(path)
        try:
            with lock.acquire(blocking=False):
                return False
        except filelock.Timeout:
            return True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory within the context.

        Raises:
            LockedError: another process has the lock; the message names it.
        """
        with exclusive(self.path, "training this run"):
            yield


def _held_elsewhere(path: Path) -> bool:
    """Return whether a process has a lock whose file may only be read, as in a read-only home."""
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def exclusive(folder: Path, doing: str) -> Iterator[None]:
    """Create a folder and lock it within the context.

    Args:
        folder: the folder.
        doing: the activity of the process with the lock, for the message.

    Raises:
        LockedError: another process has the lock; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    try:
        # The short wait is for ``held``, which takes the lock for an instant.
        lock.acquire(timeout=0.3)
    except filelock.Timeout:
        owner = read_json(folder / "owner.json") or {}
        since = time.strftime("%H:%M:%S", time.localtime(owner.get("since", 0)))
        raise LockedError(
            f"Another process is {doing}: process {owner.get('pid', '?')} on "
            f"{owner.get('host', '?')}, since {since} ({folder}).",
            "Wait for it, or stop it; the same command then continues from its checkpoint.",
        ) from None
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        write_json(folder / "owner.json", owner)
        yield
    finally:
        lock.release()


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is no such file.

    Raises:
        DamagedError: the file has other content, or cannot be read.
        DeniedError: there is no permission to read it.
    """
    text = read_bytes(path)
    return None if text is None else _parsed(path, text)


def read_bytes(path: Path) -> bytes | None:
    """Return the content of a file; None if there is no such file.

    Raises:
        DamagedError: the path is something other than a file.
        DeniedError: there is no permission to read it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        reason = "it is a link to a file that is not there"
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        reason = error.strerror or str(error)
    raise damaged(path, reason)


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text.decode(), parse_constant=_refuse)
        if b"\\ud" in text:
            # JSON can contain half a surrogate pair, which UTF-8 and databases cannot store.
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise damaged(path, "it is no JSON object")
    return content


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def damaged(path: Path, problem: str) -> DamagedError:
    """Return the error for a damaged file of a run directory."""
    return DamagedError(
        f"{path} is damaged: {problem}.",
        f"Move the run directory away to train the run again: {path.parent}",
    )


def denied(path: Path) -> DeniedError:
    """Return the error for a file without permission; it names the outermost closed folder."""
    effective = os.access in os.supports_effective_ids
    closed = (
        folder
        for folder in reversed(path.parents)
        if not os.access(folder, os.X_OK, effective_ids=effective)
    )
    return DeniedError(
        f"There is no permission to read {next(closed, path)}.",
        "Give yourself the permission, or ask the owner of the files.",
    )


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity by None, since JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return {k: without_nan(v) for k, v in value.items()} if isinstance(value, dict) else value


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that after a crash it has the old or the new content."""
    write_bytes(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it has the old or the new content.

    The content goes to a temporary file, which is synced and renamed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
