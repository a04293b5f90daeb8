"""The content of a dataset: checks, digest, moments, and images in both splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lbench.data.dataset import Dataset, Pixels, Raw, Split
from lbench.data.file_split import FileSplit
from lbench.errors import DataError


def digest(raw: Raw) -> str:
    """Return the SHA-256, in hex, of class names, shapes, pixels and labels."""
    sha = hashlib.sha256(json.dumps(raw.classes, ensure_ascii=False).encode())
    for split in (raw.train, raw.test):
        sha.update(json.dumps(split.images.shape).encode())
        sha.update(np.ascontiguousarray(split.images).data)
        sha.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
    return sha.hexdigest()


Moments = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel of images / 255."""


def counts(images: Pixels) -> npt.NDArray[np.int64]:
    """Count the values of each channel: int64, ``(channels, 256)``."""
    tallies = np.zeros((images.shape[1], 256), dtype=np.int64)
    for channel, tally in enumerate(tallies):
        for start in range(0, len(images), 8192):
            tally += np.bincount(images[start : start + 8192, channel].ravel(), minlength=256)
    return tallies


def moments(tallies: npt.NDArray[np.int64]) -> Moments:
    """Return mean and standard deviation of each channel of images / 255, from ``counts``.

    They are computed from integers, so that every machine gets the same bits.
    """
    values = range(256)
    means, stds = [], []
    for tally in tallies.tolist():
        n = sum(tally)
        first = sum(v * k for v, k in zip(values, tally, strict=True))
        second = sum(v * v * k for v, k in zip(values, tally, strict=True))
        means.append(first / (n * 255))
        stds.append(((n * second - first * first) / (n * 255) ** 2) ** 0.5)
    return tuple(means), tuple(stds)


def check(raw: Raw, where: Path) -> None:
    """Check that the arrays are what Split and Dataset promise.

    Raises:
        DataError: they are not, or there is nothing to learn from them.
    """
    for which, split in (("training", raw.train), ("test", raw.test)):
        if not len(split):
            raise DataError(
                f"{where} has no {which} images.",
                "Give every class an image for training and one for the test.",
            )
        if split.images.dtype != np.uint8 or split.images.ndim != 4:
            raise DataError(f"{where}: {which} images are {split.images.dtype}, not uint8 in 4-D.")
        if len(split.images) != len(split.labels) and not isinstance(split, FileSplit):
            raise DataError(
                f"{where}: {len(split.images)} {which} images but {len(split.labels)} labels."
            )
        if split.labels.min() < 0 or split.labels.max() >= len(raw.classes):
            raise DataError(f"{where}: a {which} label is outside 0..{len(raw.classes) - 1}.")
    if raw.train.images.shape[1:] != raw.test.images.shape[1:]:
        raise DataError(f"{where}: training and test images differ in shape.")
    if raw.train.labels.min() == raw.train.labels.max():
        raise DataError(
            f"{where} has training images of one class only ({raw.classes[raw.train.labels[0]]}): "
            "there is nothing to learn, and every error would be 0 %.",
            "Add images of another class.",
        )


def shared_images(train: Split, test: Split) -> tuple[int, int]:
    """Count the test images that are also training images, by a hash of their pixels.

    Returns:
        The number of such test images, and the number of those whose label differs from the labels
        of all equal training images.
    """
    keys = [pixel_hash(image) for image in test.images]
    labels: dict[bytes, set[int]] = {key: set() for key in keys}
    for image, label in zip(train.images, train.labels.tolist(), strict=True):
        if (seen := labels.get(pixel_hash(image))) is not None:
            seen.add(label)
    shared = [
        label in labels[key]
        for key, label in zip(keys, test.labels.tolist(), strict=True)
        if labels[key]
    ]
    return len(shared), shared.count(False)


def pixel_hash(image: Pixels) -> bytes:
    """Hash the pixels of one image into 16 bytes."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def shared_note(raw: Raw) -> tuple[str, ...]:
    """Return the note on test images that are also training images, if there are any."""
    shared, relabelled = shared_images(raw.train, raw.test)
    if not shared:
        return ()
    other = f", {relabelled:,} of them under another label" if relabelled else ""
    return (
        f"{shared:,} of {len(raw.test):,} test images are also training images, pixel for "
        f"pixel{other}.",
    )


def finish(name: str, raw: Raw) -> Dataset:
    """Return the dataset, in memory, with digest, moments and the note on shared images."""
    mean, std = moments(counts(raw.train.images))
    return Dataset(
        name=name,
        title=raw.title,
        variant=raw.variant,
        digest=digest(raw),
        classes=raw.classes,
        train=raw.train,
        test=raw.test,
        mean=mean,
        std=std,
        notes=(*raw.notes, *shared_note(raw)),
    )
