"""Standard streams that end no command if they are closed or their reader has exited."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INPUT, OUTPUT, ERROR = "stdin", "stdout", "stderr"


class _StandardStream(io.FileIO):
    """The file of a standard stream, which discards what it cannot write.

    If the reader has exited, as ``head`` does, no error is raised. Standard output raises any
    other error once, because a result that is not written is a failure. Standard error raises
    none: no stream is left to report it, and a run must not fail because of its log.
    """

    def __init__(self, descriptor: int, *, raises: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.raises = raises
        self.broken = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write the data, and return the number of bytes written; after an error, that of all."""
        if not self.broken:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.broken = True
            except OSError as error:
                self.broken = True
                if self.raises:
                    raise OSError(error.errno, error.strerror, "standard output") from error
        return memoryview(data).nbytes


def protect() -> None:
    """Make the standard streams of this process safe to write; call before any file is opened.

    Streams that other code has replaced, such as a test, stay as they are.
    """
    for descriptor, name in enumerate((INPUT, OUTPUT, ERROR)):
        if getattr(sys, name) is None:
            _open(descriptor, name)
    sys.stdout = _protected(sys.stdout, sys.__stdout__, raises=True)
    sys.stderr = _protected(sys.stderr, sys.__stderr__, raises=False)


def is_broken(stream: TextIO) -> bool:
    """Return whether a protected stream discards what is written to it."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, _StandardStream) and raw.broken


def _open(descriptor: int, name: str) -> None:
    """Open the null device for a stream that was closed when the process started.

    Otherwise the next file that is opened would have the stream's descriptor, and C code and
    subprocesses that write to the stream would write to that file.
    """
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)
    mode = "r" if name == INPUT else "w"
    setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _protected(stream: TextIO, original: TextIO | None, *, raises: bool) -> TextIO:
    if stream is not original or not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO:
        # The console on Windows.
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_StandardStream(raw.fileno(), raises=raises)),
        encoding=stream.encoding,
        # A character that the encoding lacks must not stop the rest of the text.
        errors="replace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
