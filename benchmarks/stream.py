"""One epoch of full-size photographs at 224 x 224 with lbench's stream and with a DataLoader.

Claim: with two loader processes, ``lbench.data.stream`` yields at least 1.3 times as many images
per second as ``torchvision.datasets.ImageFolder`` in a ``torch.utils.data.DataLoader`` with two
workers. Both make the same random resized crops in the same order and return standardised batches;
no decoded image is stored on disk or from one epoch to the next. Before the measurement the pixels
of one epoch's first images are compared. Nothing is trained; batches are consumed immediately.

The 50 photographs of ``imagenet-sample.tar`` are linked 40 times each into class folders.

    LBENCH_DATA=DIR python benchmarks/stream.py [--repeats 5] [--batch 64] [--images 2000]
"""

from __future__ import annotations

import argparse
import functools
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import alternate, machine, ratio, report, verdict
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lbench.data import _torchvision
from lbench.data.augment import Augmentation
from lbench.data.crop_box import crop_boxes
from lbench.data.imagefolder import ImageFolder
from lbench.data.stream import StreamedBatches, batches_of, examples_of
from lbench.randomness import Randomness

BAR = 1.3
DIFFERENCE = 2.0
SIZE = 224
WORKERS = 2
AUGMENT = Augmentation.parse("resizedcrop")


def linked(archive: Path, root: Path, count: int) -> Path:
    """Unpack the archive and return a folder with ``count`` links to its images."""
    with tarfile.open(archive) as tar:
        tar.extractall(root / "photographs", filter="data")
    photographs = sorted((root / "photographs").rglob("*.JPEG"))
    for split, number in (("train", count), ("test", len(photographs))):
        for i in range(number):
            image = photographs[i % len(photographs)]
            link = root / "folder" / split / image.parent.name / f"{i:06}.JPEG"
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(image, link)
    return root / "folder"


class Cropped(Dataset[tuple[Tensor, int]]):
    """``torchvision.datasets.ImageFolder``, with crops that are given with the index."""

    def __init__(self, root: Path, mean: Any, std: Any) -> None:
        self.folder = _torchvision.load("datasets").ImageFolder(str(root))
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, item: tuple[int, np.ndarray]) -> tuple[Tensor, int]:
        index, uniform = item
        functional = _torchvision.load("transforms").functional
        image, label = self.folder[index]
        boxes = crop_boxes(uniform[:, None], 0.08, image.height, image.width)
        left, top, right, bottom = boxes[:, 0].astype(int).tolist()
        box = top, left, bottom - top, right - left
        image = functional.to_tensor(functional.resized_crop(image, *box, [SIZE, SIZE]))
        return functional.normalize(image, self.mean, self.std), label


class SameOrder:
    """The batches of lbench's epochs, as indices with the numbers of their crops."""

    def __init__(self, batches: StreamedBatches) -> None:
        self.batches = batches
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, np.ndarray]]]:
        crop = AUGMENT.resized_crop
        assert crop is not None
        for position in range(len(self)):
            idx = self.batches.indices(self.epoch, position).tolist()
            generator = self.batches.generator(self.epoch, position)
            assert generator is not None
            uniform = crop.draw(len(idx), generator).numpy()
            yield [(index, uniform[:, row].copy()) for row, index in enumerate(idx)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as temporary:
        os.environ["LBENCH_CACHE"] = f"{temporary}/cache"
        archive = Path(os.environ["LBENCH_DATA"]) / "imagenet-sample.tar"
        root = linked(archive, Path(temporary), arguments.images)
        data = ImageFolder(size=SIZE, stream="yes").load(root)
        examples = examples_of(
            data.train, np.arange(len(data.train)), "cpu", data.mean, data.std, WORKERS
        )
        batches = batches_of(examples, arguments.batch, Randomness(0).generator, AUGMENT)
        assert isinstance(batches, StreamedBatches)
        same = SameOrder(batches)
        loader: DataLoader[Any] = DataLoader(
            Cropped(root / "train", data.mean, data.std),
            batch_sampler=same,
            num_workers=WORKERS,
            persistent_workers=True,
        )

        ours, our_labels = batches.batch(0, 0)
        theirs, labels = next(iter(loader))
        assert torch.equal(our_labels, labels)
        scale = 255 * torch.tensor(data.std).view(1, -1, 1, 1)
        differences = ((ours - theirs) * scale).abs().mean((1, 2, 3))

        epochs = {"lbench": iter(range(1_000_000)), "DataLoader": iter(range(1_000_000))}

        def walk(name: str) -> None:
            epoch = next(epochs[name])
            same.epoch = epoch
            seen = sum(len(y) for _, y in (batches.epoch(epoch) if name == "lbench" else loader))
            assert seen == arguments.images, (name, seen)

        seconds = alternate(
            {name: functools.partial(walk, name) for name in epochs}, arguments.repeats
        )
    print(f"{machine()}, batch {arguments.batch}, {WORKERS} workers, {arguments.images} images\n")
    report(seconds, unit=1)
    for name, times in seconds.items():
        print(f"{name}: {arguments.images / float(np.median(times)):.0f} images per second")
    middle, low, high = ratio(seconds["DataLoader"], seconds["lbench"])
    print(f"lbench: {middle:.2f} times [{low:.2f}, {high:.2f}] as many images per second")
    met = verdict("median", middle, BAR, at_most=False)
    largest = float(differences.max())
    met &= verdict("largest mean difference of an image's pixels, of 255", largest, DIFFERENCE)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
