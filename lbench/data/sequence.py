"""Sequences of tasks, learned one after another, which show what a rule forgets.

Every dataset can be a sequence: the registry finds ``permuted-NAME`` and ``split-NAME`` for every
dataset NAME, and :meth:`TaskSequence.over` makes their classes.

An epoch of a sequence has the examples of one task; with a budget of E epochs each task is trained
for E epochs, in order. The rule does not know which task an example belongs to. Errors are means
over tasks with equal weight.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from abc import abstractmethod
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np

from lbench.config import DatasetConfig, param
from lbench.data.dataset import Dataset, Location, Raw, Segment, Split
from lbench.data.image_source import RESIDENT
from lbench.data.permutation import permutation
from lbench.data.source import Source
from lbench.errors import DataError, UsageError

RECIPE = MappingProxyType(
    {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "lr": 0.1, "batch": 32}
)
"""Plain SGD: nothing but the weights passes from one task to the next."""
LARGE = 20_000
"""Training images of a dataset of which one pass per task is enough by default."""
SMALL_EPOCHS = 10
"""Epochs per task for smaller datasets, and for those of unknown size."""


class TaskSequence(Source):
    """A sequence of tasks made from one dataset. Subclasses implement ``sequence``.

    Class attributes:
        base: the dataset; it is set by :meth:`over`.
    """

    class Config(DatasetConfig):
        """Options of every sequence, beside those of the dataset."""

        tasks: int = param(5, low=1, help="Tasks, one after another")

    config: TaskSequence.Config
    base: ClassVar[type[Source]]
    recipe = RECIPE

    @classmethod
    def over(cls, base: type[Source], name: str, title: str) -> type[TaskSequence]:
        """Return the class of this kind of sequence over a dataset.

        Args:
            base: the class of the dataset.
            name: the name of the sequence in ``--dataset``.
            title: its title.

        Raises:
            UsageError: an option of the dataset has the name of an option of the sequence.
        """
        return _over(cls, base, name, title)

    def __init__(self, /, **options: object) -> None:
        super().__init__(**options)
        self.inner = self.base(
            **{n: getattr(self.config, n) for n in self.base.Config.model_fields}
        )

    def options(self) -> dict[str, Any]:
        """Return the options that are part of a fingerprint: those of the dataset and its own."""
        own = self.config.model_dump(mode="json", exclude=set(self.base.Config.model_fields))
        return {**self.inner.options(), **own}

    @abstractmethod
    def sequence(self, data: Dataset) -> Dataset:
        """Return the dataset with classes, segments, title and variant of the sequence."""

    def view(self, data: Dataset) -> Dataset:
        """Return the sequence, with a name and a digest of its own.

        Raises:
            UsageError: the dataset is a sequence itself, has not enough classes, or is streamed
                and does not fit into memory.
            DataError: a task has no training or no test images.
        """
        if data.segments:
            raise UsageError(
                f"Dataset {self.base.name} is a sequence of tasks itself.",
                f"Train on it as it is: --dataset {self.base.name}",
            )
        content = [self.name, data.digest, self.options()]
        sha = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        sequence = self.sequence(data)
        for number, segment in enumerate(sequence.segments, start=1):
            for which, indices in (("training", segment.train), ("test", segment.test)):
                if not len(indices):
                    raise DataError(
                        f"Task {number} of dataset {self.name} has no {which} images in this copy.",
                        f"See the copy with: lbench datasets {self.base.name}",
                    )
        size = sequence.train.nbytes
        if size > max(RESIDENT, sequence.train.images.nbytes):
            raise UsageError(
                f"Dataset {self.name} takes {size / 2**30:.0f} GiB, but the images of a sequence "
                "are kept in memory.",
                "Make them smaller, for example with: --data size=32",
            )
        return dataclasses.replace(sequence, name=self.name, digest=sha.hexdigest())

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

    def decode(self, location: Location) -> Raw:
        """Decode, check and name the base dataset."""
        return self.inner.decode(location)

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


class ClassGroups(TaskSequence):
    """Each task has classes of its own, two by default: 0 and 1, then 2 and 3, and so on.

    Zenke, Poole and Ganguli 2017, Continual learning through synaptic intelligence, ICML, Section
    5.1; the scenarios: van de Ven and Tolias 2019, arXiv:1904.07734.
    """

    class Config(TaskSequence.Config):
        """Options of groups of classes.

        In the scenario ``domain``, labels are the class within the task, so that all tasks share
        their outputs. In ``class``, every class has an output of its own, and must be distinguished
        from the classes of all tasks.
        """

        tasks: int = param(
            5, low=1, help="Tasks, one after another; fewer by default if there are fewer classes"
        )
        scenario: Literal["domain", "class"] = param(
            "domain", help="Labels: the class within the task, or among all tasks"
        )
        per_task: int = param(2, low=2, help="Classes per task, in their order")

    config: ClassGroups.Config

    def options(self) -> dict[str, Any]:
        """Return the options; ``per_task`` if it is not two."""
        return {k: v for k, v in super().options().items() if (k, v) != ("per_task", 2)}

    def sequence(self, data: Dataset) -> Dataset:
        """Give every task the images of its classes."""
        size, tasks = self.config.per_task, self._tasks(data.num_classes)
        train, test = (_chosen(split, size * tasks) for split in (data.train, data.test))
        indices = [
            [np.flatnonzero(s.labels // size == t) for s in (train, test)] for t in range(tasks)
        ]
        classes = data.classes[: size * tasks]
        if self.config.scenario == "domain":
            train, test = (dataclasses.replace(s, labels=s.labels % size) for s in (train, test))
            classes = ("first of the pair", "second of the pair")
            if size > 2:
                classes = tuple(f"class {number} of the task" for number in range(1, size + 1))
        groups = "" if size == 2 else f" of {size} classes"
        scenario = f"{tasks} tasks{groups}, {self.config.scenario}-incremental"
        return dataclasses.replace(
            data,
            title=f"Split {data.title}, {scenario}",
            variant=f"{data.variant}, {scenario}",
            classes=classes,
            train=train,
            test=test,
            segments=tuple(Segment(*rows) for rows in indices),
        )

    def _tasks(self, classes: int) -> int:
        """Return the number of tasks.

        Raises:
            UsageError: there are not enough classes for the tasks that the user asked for.
        """
        size, tasks = self.config.per_task, self.config.tasks
        most = classes // size
        if most and (tasks <= most or "tasks" not in self.config.model_fields_set):
            return min(tasks, most)
        name, wanted, got = ("tasks", most, tasks) if most else ("per_task", classes, size)
        least = 1 if most else 2
        raise UsageError(
            f"Option {name} of dataset {self.name} must be a whole number from {least} to "
            f"{wanted}, but got {got}.",
            f"{self.base.title} has {classes} classes here, and a task has {size} of them.",
        )


def _chosen(split: Split, classes: int) -> Split:
    """Return the images of the first classes; the split itself if it has no others."""
    if split.labels.max() < classes:
        return split
    return split.part(np.flatnonzero(split.labels < classes))


@functools.cache
def _over(
    kind: type[TaskSequence], base: type[Source], name: str, title: str
) -> type[TaskSequence]:
    """Make the class of a sequence over a dataset, once."""
    own, theirs = kind.Config.model_fields, base.Config.model_fields
    for option in theirs:
        if option in own and option not in DatasetConfig.model_fields:
            raise UsageError(
                f"Dataset {base.name} cannot be {name}: {option} is an option of both.",
                f"Rename the option {option} of dataset {base.name}.",
            )
    config: type[DatasetConfig] = kind.Config
    if base.Config is not DatasetConfig:
        config = type("Config", (kind.Config, base.Config), {"__module__": kind.__module__})
    size = base().published_size
    content = {
        "__module__": kind.__module__,
        "__doc__": f"{title}.",
        "name": name,
        "title": title,
        "base": base,
        "Config": config,
        "epochs": 1 if size is not None and size.train >= LARGE else SMALL_EPOCHS,
        "files": base.files,
        "torchvision": base.torchvision,
        "cached": base.cached,
        "standardize": base.standardize,
    }
    return type(f"{kind.__name__}{base.__name__}", (kind,), content)
