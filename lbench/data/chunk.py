"""The work of a loader process: decode some images into memory that it shares with its parent.

This module and what it imports do without torch, so that loader processes start at once and stay
small.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path

import numpy as np

from lbench.data.crop_box import Numbers
from lbench.data.dataset import Pixels
from lbench.data.fit import Fit, RandomCrop
from lbench.data.paths import read

MAPPED = 32
"""Largest number of buffers that a loader process keeps mapped."""

_mapped: OrderedDict[int, Pixels] = OrderedDict()


@dataclass(frozen=True, slots=True)
class BufferAddress:
    """Where a process finds memory that another one shares.

    Args:
        path: path of the file that is mapped.
        serial: a number that no other buffer of the same parent has.
        length: in bytes.
    """

    path: str
    serial: int
    length: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive images of a batch.

    Args:
        address: the batch's buffer.
        start: position of the first image in the batch.
        paths: one path per image.
        fit: how an image becomes a square.
        uniform: numbers of the random crops, ``(NUMBERS, len(paths))``; None for the centres.
        smallest: smallest share of the image's area in a random crop.
    """

    address: BufferAddress
    start: int
    paths: Sequence[str]
    fit: Fit
    uniform: Numbers | None
    smallest: float


def decode_chunk(chunk: Chunk) -> None:
    """Decode the images of a chunk into the buffer: uint8, (n, 3, size, size).

    Raises:
        DataError: a file cannot be decoded; the message names it.
    """
    size = chunk.fit.size
    images = mapped(chunk.address).reshape(-1, 3, size, size)
    for row, path in enumerate(chunk.paths):
        crop = None
        if chunk.uniform is not None:
            crop = RandomCrop(chunk.uniform[:, row], chunk.smallest)
        images[chunk.start + row] = chunk.fit.decode(read(path), path, crop)


def mapped(address: BufferAddress) -> Pixels:
    """Map a buffer into this process, or return the mapping that it has."""
    if (pixels := _mapped.get(address.serial)) is None:
        with Path(address.path).open("r+b") as file:
            pixels = np.frombuffer(mmap.mmap(file.fileno(), address.length), np.uint8)
        _mapped[address.serial] = pixels
        while len(_mapped) > MAPPED:
            _mapped.popitem(last=False)
    return pixels


def begin() -> None:
    """Prepare a loader process: it ends as soon as its parent has ended, even by ``kill -9``."""
    # Interrupts from the keyboard are for the parent, which writes a checkpoint first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
