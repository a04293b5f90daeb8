"""The processes that decode images for a run, and the memory that they write to."""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import tempfile
import weakref
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbench.data.chunk import BufferAddress, Chunk, begin, decode_chunk
from lbench.data.dataset import Pixels
from lbench.errors import LbenchError
from lbench.processes import starting_processes
from lbench.threads import cores

TRIES = 2
"""Number of times that a chunk is given to processes if they die."""

_serials = itertools.count()
_pools: dict[int, LoaderPool] = {}


class Buffer:
    """Memory for images that loader processes can map.

    On Linux it is an anonymous file in memory, which is gone with its last process; unlike shared
    memory with a name it needs no room in /dev/shm, which is small in containers. Elsewhere it is
    a temporary file.

    Args:
        length: in bytes.
    """

    def __init__(self, length: int) -> None:
        if hasattr(os, "memfd_create"):
            handle, path = os.memfd_create("lbench"), ""
            shown = f"/proc/{os.getpid()}/fd/{handle}"
        else:
            handle, path = tempfile.mkstemp(prefix="lbench-")
            shown = path
        os.truncate(handle, length)
        self.address = BufferAddress(shown, next(_serials), length)
        self.pixels: Pixels = np.frombuffer(mmap.mmap(handle, length), np.uint8)
        weakref.finalize(self, _release, handle, path)


def _release(handle: int, path: str) -> None:
    os.close(handle)
    if path:
        Path(path).unlink(missing_ok=True)


@dataclass(eq=False)
class DecodeTask:
    """A chunk that is given to a loader process.

    Args:
        chunk: the images.
        future: it ends when the images are decoded.
        tries: number of times that it was given to processes.
    """

    chunk: Chunk
    future: Future[None]
    tries: int = 1


class LoaderPool:
    """Loader processes, which start when there is work and end with this process.

    If a process dies, all are replaced, and unfinished chunks are decoded again, once: a signal to
    all processes of a job then does not keep the training process from writing its checkpoint.

    Args:
        workers: number of processes.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor = self._start()

    def submit(self, chunk: Chunk) -> DecodeTask:
        """Let a process decode a chunk."""
        return DecodeTask(chunk, self._give(chunk))

    def wait(self, task: DecodeTask) -> None:
        """Wait until a chunk is decoded.

        Raises:
            DataError: an image cannot be decoded.
            LbenchError: processes died twice.
        """
        while True:
            try:
                return task.future.result()
            except BrokenProcessPool as error:
                if task.tries == TRIES:
                    raise LbenchError(
                        "Loader processes, which decode images, were ended from outside twice.",
                        "The system ends processes when memory is short: use fewer of them with "
                        "--loader-workers, or a smaller batch. The same command continues from "
                        "the last checkpoint.",
                    ) from error
                task.tries += 1
                task.future = self._give(task.chunk)

    def _give(self, chunk: Chunk) -> Future[None]:
        with starting_processes():
            try:
                return self._executor.submit(decode_chunk, chunk)
            except BrokenProcessPool:
                self._executor = self._start()
                return self._executor.submit(decode_chunk, chunk)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=begin)


def loader_pool(workers: int | None) -> LoaderPool:
    """Return this process's pool with this number of workers; None for one per core."""
    number = workers or cores()
    if number not in _pools:
        _pools[number] = LoaderPool(number)
    return _pools[number]
