"""Checks of datasets."""

from __future__ import annotations

import tempfile

import numpy as np

from lbench.data.content import digest
from lbench.data.dataset import Dataset
from lbench.errors import UsageError
from lbench.plurals import counted
from lbench.testing.part_subject import DatasetSubject, round_trip, seed_everything, states
from lbench.testing.subject import FailedError


def dataset_options_round_trip(subject: DatasetSubject) -> None:
    """Check that options survive being written as JSON and read, and unknown ones are refused."""
    source = subject.source()
    round_trip(source.config, source.Config, subject.name)
    try:
        subject.cls(an_option_that_is_not_there=1)
    except UsageError:
        return
    raise FailedError("the dataset accepts an option that it does not have")


def data_is_found(subject: DatasetSubject) -> str:
    """Check that the raw files are found."""
    location = subject.source().find(subject.data_dir)
    return f"{counted(len(location.files), 'file')} in {location.root}"


def arrays_fit(subject: DatasetSubject) -> str:
    """Check that images are uint8 in four dimensions, labels int64, and classes distinct names."""
    raw = subject.opened()
    for which, split in (("training", raw.train), ("test", raw.test)):
        if split.labels.dtype != np.int64 or split.labels.ndim != 1:
            raise FailedError(f"{which} labels are {split.labels.dtype}, not int64 in 1-D")
    if len(set(raw.classes)) != len(raw.classes) or not all(map(str, raw.classes)):
        raise FailedError(f"classes are {raw.classes!r}, which are not distinct names")
    shape = "x".join(map(str, raw.train.images.shape[1:]))
    return f"{len(raw.train)} training and {len(raw.test)} test images, {shape}"


def decoding_repeats(subject: DatasetSubject) -> str:
    """Check that decoding gives the same digest twice, and uses no global random numbers."""
    digests = []
    for seed in (1, 2):
        seed_everything(seed)
        before = states()
        data = subject.opened()
        digests.append(data.digest if isinstance(data, Dataset) else digest(data))
        if states() != before:
            raise FailedError("decoding draws from a global random generator")
    if digests[0] != digests[1]:
        raise FailedError("decoding the same files gives another digest the second time")
    return digests[0][:12]


def cache_returns_the_same_data(subject: DatasetSubject) -> None:
    """Check that the dataset has the same digest from its files and from the cache."""
    _ = subject.location
    with tempfile.TemporaryDirectory() as folder:
        first, second = (
            subject.source().load(subject.data_dir, cache_dir=folder, download=False).digest
            for _ in range(2)
        )
    if first != second:
        raise FailedError("the data from the cache has another digest")


def entry_agrees_with_the_data(subject: DatasetSubject) -> None:
    """Check that shape and classes are those that the entry declares."""
    if subject.entry.shape is None:
        return
    data = subject.source().load(subject.data_dir, download=False)
    found = (data.shape, data.num_classes)
    if found != (subject.entry.shape, subject.entry.classes):
        raise FailedError(
            f"the entry declares {subject.entry.shape} and {subject.entry.classes} classes, but "
            f"the data has {found[0]} and {found[1]}"
        )


CHECKS = (
    dataset_options_round_trip,
    data_is_found,
    arrays_fit,
    decoding_repeats,
    cache_returns_the_same_data,
    entry_agrees_with_the_data,
)
"""The checks in the order of tables."""
