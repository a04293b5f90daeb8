"""Sequences of tasks, learned one after another, which show what a rule forgets.

An epoch of a sequence has the examples of one task; with a budget of E epochs each task is trained
for E epochs, in order. The rule does not know which task an example belongs to. Errors are means
over tasks with equal weight.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import abstractmethod
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from lbench.config import DatasetConfig, param
from lbench.data.dataset import Dataset, Labels, Location, Raw, Segment, Split
from lbench.data.digits import Digits
from lbench.data.mnist import Mnist
from lbench.data.permutation import permutation
from lbench.data.source import Source

RECIPE = MappingProxyType(
    {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "lr": 0.1, "batch": 32}
)
"""Plain SGD: nothing but the weights passes from one task to the next."""


class TaskSequence(Source):
    """A sequence of tasks made from one dataset. Subclasses implement ``sequence``."""

    class Config(DatasetConfig):
        """Options of every sequence."""

        tasks: int = param(5, low=1, help="Tasks, one after another")

    config: TaskSequence.Config
    base: ClassVar[type[Source]]
    epochs = 1
    recipe = RECIPE

    def __init__(self, /, **options: object) -> None:
        super().__init__(**options)
        self.inner = self.base(permute=self.config.permute)

    @abstractmethod
    def sequence(self, data: Dataset) -> Dataset:
        """Return the dataset with classes, segments, title and variant of the sequence."""

    def view(self, data: Dataset) -> Dataset:
        """Return the sequence, with a name and a digest of its own."""
        content = [self.name, data.digest, self.options()]
        sha = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        return dataclasses.replace(self.sequence(data), name=self.name, digest=sha.hexdigest())

    def directories(self, data_dir: Path | None) -> list[Path]:
        """List the directories of the base dataset."""
        return self.inner.directories(data_dir)

    @property
    def download_dir(self) -> Path:
        """Return the download directory of the base dataset."""
        return self.inner.download_dir

    def look(self, directory: Path) -> Location | None:
        """Find the base dataset."""
        return self.inner.look(directory)

    def read(self, location: Location) -> Raw:
        """Decode the base dataset."""
        return self.inner.read(location)

    def find(self, data_dir: Path | str | None = None) -> Location:
        """Find the base dataset in the directories that it is searched in."""
        return self.inner.find(data_dir)

    def ready(self, location: Location, cache_dir: Path | str | None = None) -> Dataset | None:
        """Open the sequence if that takes no decoding; return None otherwise."""
        data = self.inner.ready(location, cache_dir)
        return None if data is None else self.view(data)

    def load(
        self,
        data_dir: Path | str | None = None,
        *,
        cache_dir: Path | str | None = None,
        download: bool = True,
    ) -> Dataset:
        """Load the base dataset and make the sequence; one file in the cache serves both."""
        return self.view(self.inner.load(data_dir, cache_dir=cache_dir, download=download))

    def cache_path(self, location: Location, cache_dir: Path | str | None = None) -> Path:
        """Return the path of the base dataset's cache file."""
        return self.inner.cache_path(location, cache_dir)


class Permuted(TaskSequence):
    """Each task, the first included, has all examples, with their pixels in a random order.

    Goodfellow et al. 2013, An empirical investigation of catastrophic forgetting, arXiv:1312.6211;
    as a sequence: Kirkpatrick et al. 2017, PNAS 114(13), Section "Permuted MNIST".
    """

    class Config(TaskSequence.Config):
        """Options: task t has the same permutation for any number of tasks."""

        tasks: int = param(5, low=1, high=100, help="Tasks, one after another")
        seed: int = param(0, low=0, help="Seed of the tasks' permutations")

    config: Permuted.Config

    @property
    def permuted(self) -> bool:
        """Return True: the pixels of every task are permuted."""
        return True

    def sequence(self, data: Dataset) -> Dataset:
        """Give every task all images and a random order of their pixels."""
        train, test = np.arange(len(data.train)), np.arange(len(data.test))
        orders = [
            permutation(f"{self.config.seed} task {t}", data.shape)
            for t in range(self.config.tasks)
        ]
        return dataclasses.replace(
            data,
            title=f"Permuted {data.title}, {self.config.tasks} tasks",
            variant=f"{data.variant}, {self.config.tasks} permutations of seed {self.config.seed}",
            segments=tuple(Segment(train, test, order) for order in orders),
        )


class Paired(TaskSequence):
    """Each task has two classes of its own: 0 and 1, then 2 and 3, and so on.

    Zenke, Poole and Ganguli 2017, Continual learning through synaptic intelligence, ICML, Section
    5.1; the scenarios: van de Ven and Tolias 2019, arXiv:1904.07734.
    """

    class Config(TaskSequence.Config):
        """Options of pairs.

        In the scenario ``domain``, labels are the class within the pair, so that all tasks share
        two outputs. In ``class``, every class has an output of its own, and must be distinguished
        from the classes of all tasks.
        """

        tasks: int = param(5, low=1, high=5, help="Pairs of classes, in their order")
        scenario: Literal["domain", "class"] = param(
            "domain", help="Labels: the class within the pair, or among all pairs"
        )

    config: Paired.Config

    def sequence(self, data: Dataset) -> Dataset:
        """Give every task the images of its two classes."""
        train, test = self._chosen(data.train), self._chosen(data.test)
        tasks = [
            [np.flatnonzero(s.labels // 2 == t) for s in (train, test)]
            for t in range(self.config.tasks)
        ]
        classes = data.classes[: 2 * self.config.tasks]
        if self.config.scenario == "domain":
            train, test = (Split(s.images, s.labels % 2) for s in (train, test))
            classes = ("first of the pair", "second of the pair")
        scenario = f"{self.config.tasks} tasks, {self.config.scenario}-incremental"
        return dataclasses.replace(
            data,
            title=f"Split {data.title}, {scenario}",
            variant=f"{data.variant}, {scenario}",
            classes=classes,
            train=train,
            test=test,
            segments=tuple(Segment(*indices) for indices in tasks),
        )

    def _chosen(self, split: Split) -> Split:
        if split.labels.max() < 2 * self.config.tasks:
            return split
        chosen: Labels = np.flatnonzero(split.labels < 2 * self.config.tasks)
        return Split(split.images[chosen], split.labels[chosen])


class PermutedMnist(Permuted):
    """MNIST under permutations of its pixels."""

    name = "permuted-mnist"
    title = "Permuted MNIST"
    base = Mnist
    files = Mnist.files
    torchvision = Mnist.torchvision
    standardize = Mnist.standardize


class SplitMnist(Paired):
    """MNIST in pairs of digits."""

    name = "split-mnist"
    title = "Split MNIST"
    base = Mnist
    files = Mnist.files
    torchvision = Mnist.torchvision
    standardize = Mnist.standardize


class PermutedDigits(Permuted):
    """The small digits under permutations of their pixels."""

    name = "permuted-digits"
    title = "Permuted Digits (8x8)"
    base = Digits
    epochs = 10
    files = Digits.files
    cached = Digits.cached
    standardize = Digits.standardize


class SplitDigits(Paired):
    """The small digits in pairs."""

    name = "split-digits"
    title = "Split Digits (8x8)"
    base = Digits
    epochs = 10
    files = Digits.files
    cached = Digits.cached
    standardize = Digits.standardize
