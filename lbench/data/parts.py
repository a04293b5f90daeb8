"""What a run trains on, chooses by and, apart from these, is tested on, on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lbench.data.dataset import Dataset, Labels, Segment, Split
from lbench.data.loader import DeviceData
from lbench.data.split import holdout, labelled


class SequenceData(DeviceData):
    """The examples of all tasks of a sequence, one task behind another; each image lies once.

    Args:
        images: as of DeviceData, of all tasks.
        labels: likewise.
        tasks: which of them belong to each task, int64, on the device.
        orders: of the pixels of each task, int64, ``(tasks, height * width)``; None for their own.
        mean: as of DeviceData.
        std: likewise.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        tasks: Sequence[Tensor],
        orders: Tensor | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(images, labels, mean, std)
        self._of = torch.cat(list(tasks))
        self.labels = labels[self._of]
        ends = np.cumsum([len(task) for task in tasks]).tolist()
        self._segments = tuple(map(range, [0, *ends], ends))
        self._ends = torch.tensor(ends, device=images.device)
        self._orders = orders

    @property
    def segments(self) -> Sequence[range]:
        """One a task."""
        return self._segments

    def pixels(self, idx: Tensor) -> Tensor:
        """Gather the bytes at ``idx``, in the order of their task."""
        pixels = super().pixels(self._of.index_select(0, idx))
        if self._orders is None:
            return pixels
        task = torch.bucketize(idx, self._ends, right=True)
        order = self._orders.index_select(0, task).unsqueeze(1)
        flat = pixels.flatten(2)
        return flat.gather(2, order.expand_as(flat)).view_as(pixels)


@dataclass(frozen=True, slots=True)
class Parts:
    """The data of a run while it trains: the test set is not there.

    Args:
        training: what the rule learns from.
        validation: what was held out of it; None when nothing was.
    """

    training: DeviceData
    validation: DeviceData | None


def parts(
    data: Dataset,
    validation: float,
    labels: float = 1.0,
    *,
    standardize: bool,
    device: torch.device | str = "cpu",
) -> Parts:
    """Split the training examples of a dataset and copy them to the device.

    Both shares are taken of each class, and of each task of a sequence, by itself. A permuted
    task holds out the same images as every other one.

    Args:
        validation: share of the training examples that is held out; 0 for none.
        labels: share of the rest that is trained on.
        standardize: whether by the moments of the whole training set.

    Raises:
        DataError: there are too few examples to hold any out.
    """
    train, held = [], []
    for segment in _segments(data):
        kept, out = _kept(data, segment, validation, labels)
        train.append(kept)
        held.append(out)
    moments = _moments(data, standardize)
    return Parts(
        _on_device(data, data.train, train, device, moments),
        _on_device(data, data.train, held, device, moments) if validation else None,
    )


def unseen(data: Dataset, *, standardize: bool, device: torch.device | str = "cpu") -> DeviceData:
    """Copy the test set to the device.

    Args:
        standardize: whether by the moments of the whole training set.
    """
    tasks = [segment.test for segment in _segments(data)]
    return _on_device(data, data.test, tasks, device, _moments(data, standardize))


def training_sizes(data: Dataset, validation: float, labels: float) -> list[int]:
    """Count the examples that ``parts`` leaves for training: of all, or of each task.

    Raises:
        DataError: as of ``parts``.
    """
    return [len(_kept(data, segment, validation, labels)[0]) for segment in _segments(data)]


Moments = tuple[Sequence[float] | None, Sequence[float] | None]


def _moments(data: Dataset, standardize: bool) -> Moments:
    return (data.mean, data.std) if standardize else (None, None)


def _on_device(
    data: Dataset,
    split: Split,
    tasks: Sequence[Labels],
    device: torch.device | str,
    moments: Moments,
) -> DeviceData:
    if not data.segments:
        return DeviceData.of(split, tasks[0], device, *moments)
    return _sequence(split, tasks, data.segments, device, *moments)


def _segments(data: Dataset) -> Sequence[Segment]:
    return data.segments or (_whole(data),)


def _kept(
    data: Dataset, segment: Segment, validation: float, labels: float
) -> tuple[Labels, Labels]:
    """Return which examples of a segment are trained on, and which are held out."""
    of_class = data.train.labels[segment.train]
    kept, out = holdout(of_class, validation, data.digest)
    kept = kept[labelled(of_class[kept], labels, data.digest)]
    return segment.train[kept], segment.train[out]


def held_out(data: DeviceData, fraction: float, digest: str) -> tuple[Tensor, Tensor]:
    """Split examples that are trained on as ``parts`` would have: kept and held out.

    Returns:
        Their indices, int64, on the device.
    """
    kept: list[Tensor] = []
    held: list[Tensor] = []
    for segment in data.segments:
        labels = data.labels[segment.start : segment.stop].cpu().numpy()
        for indices, rows in zip((kept, held), holdout(labels, fraction, digest), strict=True):
            indices.append(torch.from_numpy(rows + segment.start))
    return torch.cat(kept).to(data.device), torch.cat(held).to(data.device)


def _whole(data: Dataset) -> Segment:
    return Segment(np.arange(len(data.train)), np.arange(len(data.test)))


def _sequence(
    split: Split,
    tasks: Sequence[Labels],
    segments: Sequence[Segment],
    device: torch.device | str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> SequenceData:
    used = np.unique(np.concatenate(tasks))
    given = [segment.order for segment in segments if segment.order is not None]
    orders = torch.from_numpy(np.stack(given)).to(device) if given else None
    return SequenceData(
        torch.from_numpy(split.images[used]).to(device),
        torch.from_numpy(split.labels[used]).to(device),
        [torch.from_numpy(np.searchsorted(used, task)).to(device) for task in tasks],
        orders,
        mean,
        std,
    )
