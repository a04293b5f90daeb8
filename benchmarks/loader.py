"""One epoch of augmented MNIST with lbench's loader and with a DataLoader of PyTorch.

Claim: with random crops, an epoch with ``lbench.data.loader`` takes at most a tenth of the time of
``torch.utils.data.DataLoader`` with two workers and ``torchvision.transforms.v2``, used in the
common way: one image at a time, as tensors or as PIL images. Nothing is trained; batches are
consumed immediately. All sides alternate in one process, after one unmeasured epoch each; the
DataLoader keeps its workers, so their start is not counted.

    LBENCH_DATA=DIR python benchmarks/loader.py [--repeats 5] [--batch 128]
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import alternate, machine, ratio, report, verdict
from torch.utils.data import DataLoader, Dataset

from lbench.data import _torchvision
from lbench.data.augment import Augmentation
from lbench.data.loader import Batches, DeviceData
from lbench.data.mnist import Mnist

BAR = 10.0
PAD = 4
WORKERS = 2


class Images(Dataset[tuple[torch.Tensor, int]]):
    """MNIST in the form of ``torchvision.datasets.MNIST``, which returns single images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any, pil: bool) -> None:
        from PIL import Image

        self.images = torch.from_numpy(images.copy())
        self.labels = labels.tolist()
        self.transform = transform
        self.convert = (lambda x: Image.fromarray(x[0].numpy())) if pil else (lambda x: x)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.convert(self.images[index])), self.labels[index]


def noise(stream: str, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(index * 2 + (stream == "order"))


def sides(batch: int) -> dict[str, Callable[[int], int]]:
    """Return, by name, functions that iterate over epoch e and return the number of images."""
    v2 = _torchvision.load("transforms.v2")
    train = Mnist().load(download=False).train
    data = DeviceData.of(train)
    ours = {
        text: Batches(data, batch, noise, Augmentation.parse(text))
        for text in (f"crop{PAD}", f"translate{PAD}")
    }

    def theirs(pil: bool) -> DataLoader[tuple[torch.Tensor, int]]:
        steps = [
            *([v2.ToImage()] if pil else []),
            v2.RandomCrop(28, padding=PAD),
            v2.ToDtype(torch.float32, scale=True),
        ]
        dataset = Images(train.images, train.labels, v2.Compose(steps), pil)
        return DataLoader(dataset, batch, True, num_workers=WORKERS, persistent_workers=True)

    loaders = {"tensors": theirs(pil=False), "PIL images": theirs(pil=True)}

    def walk(batches: Any) -> int:
        return sum(len(labels) for _, labels in batches)

    functions: dict[str, Callable[[int], int]] = {}
    for text, batches in ours.items():
        functions[f"lbench, {text}"] = lambda e, b=batches: walk(b.epoch(e))  # type: ignore[misc]
    for kind, loader in loaders.items():
        functions[f"DataLoader, {kind}"] = lambda e, b=loader: walk(b)  # type: ignore[misc]
    return functions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()

    functions = sides(arguments.batch)
    epochs = {name: iter(range(1_000_000)) for name in functions}

    def walk(name: str) -> None:
        seen = functions[name](next(epochs[name]))
        assert seen == 60_000, (name, seen)

    turns = {name: functools.partial(walk, name) for name in functions}
    seconds = alternate(turns, arguments.repeats)
    print(f"{machine()}, batch {arguments.batch}, {WORKERS} workers\n")
    report(seconds, unit=1)
    met = True
    for kind in ("tensors", "PIL images"):
        slow = seconds[f"DataLoader, {kind}"]
        for name, fast in seconds.items():
            if name.startswith("lbench"):
                middle, low, high = ratio(slow, fast)
                print(f"{name}: {middle:.0f} times [{low:.0f}, {high:.0f}] DataLoader, {kind}")
                met &= verdict("lower 95 % bound", low, BAR, at_most=False)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
