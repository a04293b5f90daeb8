"""Standard streams that do not end a command: closed ones, and those whose reader has left."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INPUT, OUTPUT, ERROR = "stdin", "stdout", "stderr"


class _Standard(io.FileIO):
    """The file of a standard stream.

    What cannot be written is lost: quietly where the reader has left, as ``head`` does. Standard
    output raises any other error once, for a result that did not arrive is a failure; standard
    error never does, for there is nowhere left to report it, and a run does not end with its log.
    """

    def __init__(self, descriptor: int, *, raises: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.raises = raises
        self.broken = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what fits; after an error everything counts as written."""
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
    """Make the standard streams of this process safe to write; call before anything is opened.

    Streams that something else has put in their place, such as a test, are left as they are.
    """
    for descriptor, name in enumerate((INPUT, OUTPUT, ERROR)):
        if getattr(sys, name) is None:
            _open(descriptor, name)
    sys.stdout = _protected(sys.stdout, sys.__stdout__, raises=True)
    sys.stderr = _protected(sys.stderr, sys.__stderr__, raises=False)


def lost(stream: TextIO) -> bool:
    """Return whether a protected stream takes nothing any more."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, _Standard) and raw.broken


def _open(descriptor: int, name: str) -> None:
    """Open the null device for a stream that was closed when the process started.

    Otherwise the next file that is opened would get its descriptor, and everything that C code
    or a subprocess writes to the stream.
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
        # The console of Windows.
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Standard(raw.fileno(), raises=raises)),
        encoding=stream.encoding,
        # A sign that the encoding lacks is no reason to lose the rest.
        errors="replace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
