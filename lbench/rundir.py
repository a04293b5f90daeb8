"""Run directory: all that a run writes, and the first in the order of truth.

================================  ==================================================================
``spec.json``                     what was asked for, written before the first step
``metrics.jsonl``                 a line an epoch, appended
``checkpoint-0|1.pt``             to resume from; gone when a run has ended, not when pruned
``result.json``                   how it ended; written last
``weights.safetensors``           the rule's state after the last step, see ``run/weights.py``
``weights-best-val.safetensors``  the same at the epoch of lowest validation error (strict)
``test_logits.npy``               float16, (test examples, classes), of the last weights
``test_logits_best_val.npy``      the same of the best-validation weights
``test_labels.npy``               int16, (test examples,), in the same order
``val_logits.npy``                of a trial: the same of the last weights on the validation split
``probes/NAME.parquet``           what a probe recorded
``error.txt``                     the traceback of a failed run
``owner.json``                    who holds the lock, or held it last
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
"""What is wrong with a file; other errors are the system's."""


class RunDir:
    """One run's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def journal(self) -> Path:
        """One JSON object a line, one line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def traceback(self) -> Path:
        """The traceback of the error that ended the run, as text."""
        return self.path / "error.txt"

    def probe(self, name: str) -> Path:
        """The table of a probe."""
        return self.path / "probes" / f"{name}.parquet"

    def spec(self) -> dict[str, Any] | None:
        """What was asked for; None when nothing was written yet."""
        return read_json(self.path / "spec.json")

    def result(self) -> dict[str, Any] | None:
        """How it ended; None while it has not.

        Raises:
            DamagedError: the file is not one that lbench wrote.
        """
        path = self.path / "result.json"
        result = read_json(path)
        if result is not None and (wrong := problem(Result, result)):
            raise damaged(path, wrong)
        return result

    def epochs(self) -> list[dict[str, Any]]:
        """The journal, without a last line that was cut short.

        Raises:
            DamagedError: a line is not what lbench wrote.
        """
        rows = []
        for line in (read_bytes(self.journal) or b"").splitlines(keepends=True):
            if line.endswith(b"\n"):
                rows.append(_parsed(self.journal, line))
        return rows

    def held(self) -> bool:
        """Whether a living process works in this directory."""
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
        """Keeps other processes out.

        Raises:
            LockedError: another process is inside; says which.
        """
        with alone(self.path, "training this run"):
            yield


def _held_elsewhere(path: Path) -> bool:
    """Whether a process holds a lock file that may only be read, as in a read-only home."""
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Keeps other processes out of a folder, which is created.

    Args:
        doing: what whoever is inside does, for the message.

    Raises:
        LockedError: another process is inside; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    try:
        # Not at once: ``held`` takes the lock for an instant.
        lock.acquire(timeout=0.3)
    except filelock.Timeout:
        owner = read_json(folder / "owner.json") or {}
        since = time.strftime("%H:%M:%S", time.localtime(owner.get("since", 0)))
        raise LockedError(
            f"Another process is {doing}: process {owner.get('pid', '?')} on "
            f"{owner.get('host', '?')}, since {since} ({folder}).",
            "Wait for it, or stop it; the same command then goes on from its checkpoint.",
        ) from None
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        write_json(folder / "owner.json", owner)
        yield
    finally:
        lock.release()


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None when there is no such file.

    Raises:
        DamagedError: the file holds something else, or cannot be read.
        DeniedError: it may not be read.
    """
    text = read_bytes(path)
    return None if text is None else _parsed(path, text)


def read_bytes(path: Path) -> bytes | None:
    """What a file holds; None where there is no such file.

    Raises:
        DamagedError: something else than a file is there.
        DeniedError: it may not be read.
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
            # JSON can hold half a character, UTF-8 and databases cannot.
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise damaged(path, "it is no JSON object")
    return content


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def damaged(path: Path, problem: str) -> DamagedError:
    """The error for a file of a run directory that cannot be believed."""
    return DamagedError(
        f"{path} is damaged: {problem}.",
        f"Move the run directory away to train the run again: {path.parent}",
    )


def denied(path: Path) -> DeniedError:
    """The error for a file that may not be read, which names the outermost folder that is closed.

    Args:
        path: the file.
    """
    effective = os.access in os.supports_effective_ids
    above = reversed(path.parents)
    shut = (each for each in above if not os.access(each, os.X_OK, effective_ids=effective))
    closed = next(shut, path)
    return DeniedError(
        f"There is no permission to read {closed}.",
        "Give yourself the permission, or ask the user whose files these are.",
    )


def without_nan(value: Any) -> Any:
    """JSON knows no NaN and no infinity: None stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return {k: without_nan(v) for k, v in value.items()} if isinstance(value, dict) else value


def write_json(path: Path, content: Any) -> None:
    """Writes a file that is either the old one or the new one, whatever happens."""
    write_bytes(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
