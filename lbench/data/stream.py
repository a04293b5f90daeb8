"""Examples whose images are decoded in other processes shortly before they are needed.

Every request is addressed: which images, and the random numbers of their crops. A resumed run
therefore makes the requests that an uninterrupted one would make, and repeats and skips no image.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lbench.data.augment import Augmentation
from lbench.data.chunk import Chunk
from lbench.data.dataset import Labels, Split
from lbench.data.file_split import FileSplit
from lbench.data.loader import Batches, DeviceData, Noise
from lbench.data.loader_pool import Buffer, DecodeTask, loader_pool

AHEAD = 3
"""Smallest number of batches that are requested before they are needed."""
PER_WORKER = 8
"""Smallest number of images that are requested per loader process."""
CHUNK = 16
"""Largest number of images that a process decodes at once."""


@dataclass(frozen=True, eq=False)
class Pending:
    """A batch that is being decoded.

    Args:
        rows: positions of its images in the split, int64.
        labels: their labels, int64.
        buffer: the memory for its images.
        tasks: one per chunk.
        augment: operations that are left to do when the images are decoded.
        generator: the generator of these operations.
    """

    rows: Labels
    labels: Labels
    buffer: Buffer
    tasks: Sequence[DecodeTask]
    augment: Augmentation | None
    generator: torch.Generator | None


class StreamedData(DeviceData):
    """Examples in files; their labels are on the device, and ``images`` is empty.

    Args:
        split: the files.
        indices: which of them, int64.
        device: device of the batches.
        mean: as in DeviceData.
        std: as in DeviceData.
        workers: number of loader processes; None for one per core.
    """

    def __init__(
        self,
        split: FileSplit,
        indices: Labels,
        device: torch.device | str = "cpu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        workers: int | None = None,
    ) -> None:
        empty = torch.empty(0, *split.shape, dtype=torch.uint8, device=device)
        labels = split.labels[indices]
        super().__init__(empty, torch.from_numpy(labels).to(device), mean, std)
        self._split, self._indices, self._cpu_labels = split, indices, labels
        self._order = None if split.order is None else torch.from_numpy(split.order).to(device)
        self._workers = workers
        self._free: list[Buffer] = []

    @property
    def index_device(self) -> torch.device:
        """Return the CPU: paths are looked up by the indices."""
        return torch.device("cpu")

    def pixels(self, idx: Tensor) -> Tensor:
        """Decode the centres of the images at ``idx``: uint8, ``(b, 3, size, size)``."""
        pending = self.request(idx)
        pixels = self._received(pending).clone()
        self._free.append(pending.buffer)
        return pixels

    def batch(
        self,
        idx: Tensor,
        augment: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode the images at ``idx``, as ``DeviceData.batch`` gathers them."""
        return self.collect(self.request(idx, augment, generator))

    def request(
        self,
        idx: Tensor,
        augment: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Pending:
        """Let the loader processes begin with the images at ``idx``.

        Args:
            idx: int64, ``(b,)``, on any device.
            augment: a random resized crop is made when an image is decoded, from the whole image.
            generator: as in ``batch``.
        """
        positions = idx.cpu().numpy()
        rows, labels = self._indices[positions], self._cpu_labels[positions]
        uniform, smallest = None, 1.0
        if augment and generator is not None and (crop := augment.resized_crop) is not None:
            uniform, smallest = crop.draw(len(rows), generator).numpy(), crop.smallest
            augment = augment.without_resized_crop()
        pool = loader_pool(self._workers)
        buffer = self._buffer(len(rows))
        size = max(1, min(CHUNK, len(rows) // pool.workers))
        tasks = []
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            paths = [self._split.path(row) for row in rows[part].tolist()]
            numbers = None if uniform is None else np.ascontiguousarray(uniform[:, part])
            chunk = Chunk(buffer.address, start, paths, self._split.fit, numbers, smallest)
            tasks.append(pool.submit(chunk))
        return Pending(rows, labels, buffer, tasks, augment, generator)

    def collect(self, pending: Pending) -> tuple[Tensor, Tensor]:
        """Wait for a batch, and return its images and labels as ``batch`` does.

        Raises:
            DataError: an image cannot be decoded; the message names its file.
            LbenchError: a loader process has died.
        """
        images = self.finished(self._received(pending), pending.augment, pending.generator)
        self._free.append(pending.buffer)
        return images, torch.from_numpy(pending.labels).to(self.device)

    def discard(self, requests: Iterable[Pending]) -> None:
        """Take back requests; buffers that a process still writes to are not used again."""
        for pending in requests:
            cancelled = [task.future.cancel() for task in pending.tasks]
            if all(cancelled):
                self._free.append(pending.buffer)

    def walk(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples in their order, in batches of ``size``; later ones are requested."""
        requests = (
            self.request(torch.arange(start, min(start + size, len(self))))
            for start in range(0, len(self), size)
        )
        ahead: deque[Pending] = deque()
        try:
            for pending in requests:
                ahead.append(pending)
                if len(ahead) >= self.depth(size):
                    yield self.collect(ahead.popleft())
            while ahead:
                yield self.collect(ahead.popleft())
        finally:
            self.discard(ahead)
            self._free.clear()

    def depth(self, size: int) -> int:
        """Return the number of batches of ``size`` that are requested before they are needed."""
        return max(AHEAD, -(-PER_WORKER * loader_pool(self._workers).workers // size))

    def _received(self, pending: Pending) -> Tensor:
        """Return the bytes of a batch on the device; on the CPU this is the buffer itself."""
        pool = loader_pool(self._workers)
        for task in pending.tasks:
            pool.wait(task)
        length = len(pending.rows) * self._row_bytes
        pixels = torch.from_numpy(pending.buffer.pixels[:length])
        images = pixels.view(-1, *self.shape).to(self.device)
        return (
            images if self._order is None else images.flatten(2)[:, :, self._order].view_as(images)
        )

    @property
    def _row_bytes(self) -> int:
        channels, height, width = self.shape
        return channels * height * width

    def _buffer(self, images: int) -> Buffer:
        length = images * self._row_bytes
        fitting = [buffer for buffer in self._free if buffer.address.length >= length]
        if not fitting:
            return Buffer(length)
        self._free.remove(fitting[0])
        return fitting[0]


class StreamedBatches(Batches):
    """The batches of a training run on streamed data, with the addresses that Batches has.

    Behind a batch the following ones are already being decoded, also those of the next epoch.
    """

    data: StreamedData

    def __init__(
        self,
        data: StreamedData,
        batch_size: int,
        noise: Noise,
        augment: Augmentation | None = None,
        epochs: int = 1,
    ) -> None:
        super().__init__(data, batch_size, noise, augment, epochs)
        self._ahead: deque[tuple[tuple[int, int], Pending]] = deque()
        weakref.finalize(self, _cancel, self._ahead)

    def batch(self, epoch: int, position: int) -> tuple[Tensor, Tensor]:
        """Return images and labels as ``StreamedData.batch`` does.

        Raises:
            IndexError: the epoch has no batch at this position.
            DataError: an image cannot be decoded; the message names its file.
        """
        return self.data.collect(self.take(epoch, position))

    def take(self, epoch: int, position: int) -> Pending:
        """Return the request of a batch, after those of the following batches are made.

        Raises:
            IndexError: the epoch has no batch at this position.
        """
        ahead = self._ahead
        if not ahead or ahead[0][0] != (epoch, position):
            self.data.discard(pending for _, pending in ahead)
            ahead.clear()
            ahead.append(((epoch, position), self._request(epoch, position)))
        while len(ahead) <= self.data.depth(self.batch_size):
            following = self._following(*ahead[-1][0])
            ahead.append((following, self._request(*following)))
        return ahead.popleft()[1]

    def _request(self, epoch: int, position: int) -> Pending:
        idx = self.indices(epoch, position)
        return self.data.request(idx, self.augment, self.generator(epoch, position))

    def _following(self, epoch: int, position: int) -> tuple[int, int]:
        return (epoch, position + 1) if position + 1 < len(self) else (epoch + 1, 0)


def _cancel(ahead: deque[tuple[tuple[int, int], Pending]]) -> None:
    for _, pending in ahead:
        for task in pending.tasks:
            task.future.cancel()


def examples_of(
    split: Split,
    indices: Labels,
    device: torch.device | str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    workers: int | None = None,
) -> DeviceData:
    """Return the examples of a split: on the device, or streamed if they are in files."""
    if isinstance(split, FileSplit):
        return StreamedData(split, indices, device, mean, std, workers)
    return DeviceData.of(split, indices, device, mean, std)


def batches_of(
    data: DeviceData,
    batch_size: int,
    noise: Noise,
    augment: Augmentation | None = None,
    epochs: int = 1,
) -> Batches:
    """Return the batches of a training run on examples in memory or in files.

    Raises:
        UsageError: as ``Batches``.
    """
    if isinstance(data, StreamedData):
        return StreamedBatches(data, batch_size, noise, augment, epochs)
    return Batches(data, batch_size, noise, augment, epochs)
