"""The training, validation and test examples of a run, on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lbench.data.dataset import Dataset, Labels, Segment, Split
from lbench.data.loader import DeviceData
from lbench.data.split import holdout, labelled
from lbench.data.stream import examples_of


class SequenceData(DeviceData):
    """The examples of all tasks of a sequence, task by task; each image is stored once.

    Args:
        images: the images of all tasks, as in DeviceData.
        labels: their labels, as in DeviceData.
        tasks: for each task, the indices of its images, int64, on the device.
        orders: order of the pixels in each task, int64, ``(tasks, height * width)``; None where
            they are not permuted.
        mean: as in DeviceData.
        std: as in DeviceData.
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
        self._images = torch.cat(list(tasks))
        self.labels = labels[self._images]
        ends = np.cumsum([len(task) for task in tasks]).tolist()
        self._segments = tuple(map(range, [0, *ends], ends))
        self._ends = torch.tensor(ends, device=images.device)
        self._orders = orders

    @property
    def segments(self) -> Sequence[range]:
        """Return the examples of each task."""
        return self._segments

    def pixels(self, idx: Tensor) -> Tensor:
        """Gather the bytes at ``idx``, in the order that their task gives to pixels."""
        pixels = super().pixels(self._images.index_select(0, idx))
        if self._orders is None:
            return pixels
        task = torch.bucketize(idx, self._ends, right=True)
        order = self._orders.index_select(0, task).unsqueeze(1)
        flat = pixels.flatten(2)
        return flat.gather(2, order.expand_as(flat)).view_as(pixels)


@dataclass(frozen=True, slots=True)
class Parts:
    """The data of a run while it trains, without the test set.

    Args:
        training: the examples that the rule learns from.
        validation: the examples that were held out; None where there are none.
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
    workers: int | None = None,
) -> Parts:
    """Split the training examples of a dataset and copy both parts to the device.

    Both shares are taken from each class, and from each task of a sequence, separately. All
    tasks of a permuted sequence hold out the same images.

    Args:
        validation: share of the training examples that is held out; 0 for none.
        labels: share of the remaining examples that is trained on.
        standardize: whether images are standardised, with the moments of the whole training set.
        device: device of the batches.
        workers: number of processes that decode streamed images; None for one per core.

    Raises:
        DataError: there are too few examples to hold any out.
    """
    splits = [_split(data, segment, validation, labels) for segment in _segments(data)]
    training, held_out = [stay for stay, _ in splits], [out for _, out in splits]
    moments = _moments(data, standardize)
    return Parts(
        _on_device(data, data.train, training, device, moments, workers),
        _on_device(data, data.train, held_out, device, moments, workers) if validation else None,
    )


def unseen(
    data: Dataset,
    *,
    standardize: bool,
    device: torch.device | str = "cpu",
    workers: int | None = None,
) -> DeviceData:
    """Copy the test set to the device, or prepare to stream it.

    Args:
        standardize: whether images are standardised, with the moments of the whole training set.
        device: device of the batches.
        workers: as in ``parts``.
    """
    tasks = [segment.test for segment in _segments(data)]
    return _on_device(data, data.test, tasks, device, _moments(data, standardize), workers)


def training_sizes(data: Dataset, validation: float, labels: float) -> list[int]:
    """Count the examples that ``parts`` leaves for training, per task of a sequence.

    Raises:
        DataError: there are too few examples to hold any out.
    """
    return [len(_split(data, segment, validation, labels)[0]) for segment in _segments(data)]


Moments = tuple[Sequence[float] | None, Sequence[float] | None]


def _moments(data: Dataset, standardize: bool) -> Moments:
    return (data.mean, data.std) if standardize else (None, None)


def _on_device(
    data: Dataset,
    split: Split,
    tasks: Sequence[Labels],
    device: torch.device | str,
    moments: Moments,
    workers: int | None,
) -> DeviceData:
    if not data.segments:
        return examples_of(split, tasks[0], device, *moments, workers)
    return _sequence(split, tasks, data.segments, device, *moments)


def _segments(data: Dataset) -> Sequence[Segment]:
    return data.segments or (_whole(data),)


def _split(
    data: Dataset, segment: Segment, validation: float, labels: float
) -> tuple[Labels, Labels]:
    """Return the indices of a segment's examples that are trained on and that are held out."""
    classes = data.train.labels[segment.train]
    training, held_out = holdout(classes, validation, data.digest)
    training = training[labelled(classes[training], labels, data.digest)]
    return segment.train[training], segment.train[held_out]


def held_out(data: DeviceData, fraction: float, digest: str) -> tuple[Tensor, Tensor]:
    """Split training examples again, as ``parts`` would split them.

    Returns:
        The indices of the examples that stay and of those held out, int64, on the device.
    """
    stay: list[Tensor] = []
    out: list[Tensor] = []
    for segment in data.segments:
        labels = data.labels[segment.start : segment.stop].cpu().numpy()
        for indices, rows in zip((stay, out), holdout(labels, fraction, digest), strict=True):
            indices.append(torch.from_numpy(rows + segment.start))
    return torch.cat(stay).to(data.device), torch.cat(out).to(data.device)


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
        torch.from_numpy(split.pixels(used)).to(device),
        torch.from_numpy(split.labels[used]).to(device),
        [torch.from_numpy(np.searchsorted(used, task)).to(device) for task in tasks],
        orders,
        mean,
        std,
    )
