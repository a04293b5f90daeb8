"""Batches of images that stay on the device; each is a function of seed, epoch and position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lbench.data.augment import Augmentation
from lbench.data.dataset import Labels, Split
from lbench.errors import UsageError

Noise = Callable[[str, int], torch.Generator]
"""From (stream, index) to a CPU generator seeded by a hash of the run's seed and both."""


def epoch_order(n: int, generator: torch.Generator) -> Tensor:
    """Draw a permutation of 0..n-1: int64, ``(n,)``, on the CPU."""
    return torch.randperm(n, generator=generator)


class DeviceData:
    """Images and labels that stay on a device.

    Args:
        images: uint8, ``(n, channels, height, width)``, contiguous.
        labels: int64, ``(n,)``, on the same device.
        mean: mean of each channel of pixels / 255; None for no standardisation.
        std: standard deviation of each channel; given exactly when ``mean`` is. A channel of
            constant value is divided by 1.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError("mean and std are given together or not at all")
        self.images = images
        self.labels = labels
        self.shape = tuple(images.shape[1:])
        self._rows = images.flatten(1)
        self._scale: float | Tensor = 1 / 255
        self._shift: Tensor | None = None
        if mean is not None and std is not None:
            # (x / 255 - mean) / std as one multiplication and one addition.
            centre = torch.tensor(mean, dtype=torch.float64)
            spread = torch.tensor([s or 1.0 for s in std], dtype=torch.float64)
            device = images.device
            self._scale = (1 / (255 * spread)).float().view(1, -1, 1, 1).to(device)
            self._shift = (-centre / spread).float().view(1, -1, 1, 1).to(device)

    @classmethod
    def of(
        cls,
        split: Split,
        indices: Labels | None = None,
        device: torch.device | str = "cpu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> DeviceData:
        """Copy the examples of ``split`` at ``indices`` (None: all) to ``device``."""
        images = split.pixels(indices)
        labels = np.array(split.labels) if indices is None else split.labels[indices]
        return cls(
            torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), mean, std
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Return the device that holds the images."""
        return self.images.device

    @property
    def index_device(self) -> torch.device:
        """Return the device that the indices of batches are needed on."""
        return self.device

    @property
    def segments(self) -> Sequence[range]:
        """Return the examples of each task of a sequence, or one range with all examples."""
        return (range(len(self)),)

    def pixels(self, idx: Tensor) -> Tensor:
        """Gather the bytes at ``idx``: uint8, ``(b, channels, height, width)``."""
        return self._rows.index_select(0, idx).view(-1, *self.shape)

    def batch(
        self,
        idx: Tensor,
        augment: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Gather the standardised examples at ``idx``.

        Args:
            idx: int64, ``(b,)``, on the device.
            augment: applied to the pixels before they become floats.
            generator: a CPU generator, needed with ``augment``.

        Returns:
            Images, float32, ``(b, channels, height, width)``; labels, int64, ``(b,)``.
        """
        return self.finished(self.pixels(idx), augment, generator), self.labels.index_select(0, idx)

    def finished(
        self,
        pixels: Tensor,
        augment: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return a batch of bytes augmented and standardised, in new memory.

        Args:
            pixels: uint8, ``(b, channels, height, width)``, on the device.
            augment: as in ``batch``.
            generator: as in ``batch``.
        """
        if augment:
            if generator is None:
                raise ValueError("an augmentation needs a generator")
            pixels = augment(pixels, generator)
        # Two kernels, not addcmul: they are twice as fast on the CPU and have no fused rounding,
        # so that every device gets the same bits.
        images = pixels.float().mul_(self._scale)
        if self._shift is not None:
            images.add_(self._shift)
        return images

    def walk(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples in their order, in batches of ``size``; the last may be shorter."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield self.batch(torch.arange(start, stop, device=self.device))


class Batches:
    """The batches of a training run, addressed by epoch and position in the epoch.

    The order of epoch e comes from ``noise("order", e)``, the augmentation of a batch from
    ``noise("augment", e * len(self) + position)``. So any batch can be produced directly, and
    resuming replays nothing. The last batch of an epoch may be shorter. An epoch of a sequence has
    the examples of one task.

    Args:
        data: the training examples.
        batch_size: examples per batch, at least 1.
        noise: the run's source of generators.
        augment: random changes of the images; None or an empty one for none.
        epochs: epochs per task of a sequence.

    Raises:
        UsageError: a batch size below 1, or an augmentation too large for the images.
    """

    def __init__(
        self,
        data: DeviceData,
        batch_size: int,
        noise: Noise,
        augment: Augmentation | None = None,
        epochs: int = 1,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"The batch size must be at least 1, got {batch_size}.")
        if augment:
            augment.check(*data.shape[1:])
        self.data = data
        self.batch_size = batch_size
        self.noise = noise
        self.augment = augment
        self.epochs = epochs
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of batches per epoch, the largest if epochs differ."""
        return max(self._count(segment) for segment in self.data.segments)

    def segment(self, epoch: int) -> range:
        """Return the examples of ``epoch``."""
        segments = self.data.segments
        return segments[epoch // self.epochs] if len(segments) > 1 else segments[0]

    def order(self, epoch: int) -> Tensor:
        """Draw the order of the examples of ``epoch``: int64, on the data's ``index_device``.

        It is cached.
        """
        if self._order is None or self._order[0] != epoch:
            segment = self.segment(epoch)
            order = epoch_order(len(segment), self.noise("order", epoch)) + segment.start
            self._order = epoch, order.to(self.data.index_device)
        return self._order[1]

    def indices(self, epoch: int, position: int) -> Tensor:
        """Return the indices of the batch's examples: int64, ``(b,)``, on ``index_device``.

        Raises:
            IndexError: the epoch has no batch at this position.
        """
        count = self._count(self.segment(epoch))
        if not 0 <= position < count:
            raise IndexError(f"batch {position} of an epoch of {count}")
        start = position * self.batch_size
        return self.order(epoch)[start : start + self.batch_size]

    def batch(self, epoch: int, position: int) -> tuple[Tensor, Tensor]:
        """Return images and labels as ``DeviceData.batch`` does.

        Raises:
            IndexError: the epoch has no batch at this position.
        """
        idx = self.indices(epoch, position)
        return self.data.batch(idx, self.augment, self.generator(epoch, position))

    def generator(self, epoch: int, position: int) -> torch.Generator | None:
        """Return the generator of a batch's augmentation; None if there is none."""
        if not self.augment:
            return None
        return self.noise("augment", epoch * len(self) + position)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of ``epoch`` from position ``start`` on."""
        for position in range(start, self._count(self.segment(epoch))):
            yield self.batch(epoch, position)

    def _count(self, segment: range) -> int:
        return -(-len(segment) // self.batch_size)
