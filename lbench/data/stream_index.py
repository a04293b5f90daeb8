"""What must be known of streamed images before training: digest, moments, undecodable files.

It is found once and stored as a small file in the cache. Decoding all images would take as long as
an epoch. The digest therefore covers names, labels and sizes of all files and the content of a
sample; two versions of a photograph hardly ever have the same number of bytes. The sample, up to
``SAMPLE`` training images, is chosen by hashes and gives the moments, too: means of
this number of photographs vary by about 0.004, a sixtieth of the standard deviation of the pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lbench.data import paths
from lbench.data.cache import unwritable
from lbench.data.content import counts, moments
from lbench.data.dataset import Labels, Pixels, Raw
from lbench.data.draws import draws
from lbench.data.file_split import FileSplit
from lbench.data.image_files import in_threads
from lbench.data.lock import locked
from lbench.data.progress import progress
from lbench.errors import printable
from lbench.rundir import write_json

SAMPLE = 2000
"""Largest number of training images whose content is read in advance."""


@dataclass(frozen=True)
class Index:
    """The properties of streamed images that do not follow from their list.

    Args:
        digest: SHA-256 in hex, see the module.
        mean: mean of each channel of the sample divided by 255.
        std: standard deviation of the same.
        undecodable: names of the files below the dataset's directory that are left out, sorted.
    """

    digest: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    undecodable: tuple[str, ...] = ()


def fetch(path: Path, name: str, build: Callable[[], Index]) -> Index:
    """Read the index in ``path``; if there is none, write it from ``build()`` first.

    Raises:
        DataError: ``build`` raised it, or the cache cannot be written.
    """
    if (index := load(path)) is not None:
        return index
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), f"it examines the images of {name}"):
            if (index := load(path)) is None:
                index = build()
                write_json(path, asdict(index))
    except OSError as error:
        raise unwritable(path, error) from error
    return index


def load(path: Path) -> Index | None:
    """Return the stored index; None if there is none."""
    try:
        content = json.loads(path.read_bytes())
        mean, std, bad = (tuple(content[name]) for name in ("mean", "std", "undecodable"))
        return Index(content["digest"], mean, std, bad)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def examine(raw: Raw, sizes: Sequence[Sequence[int]], undecodable: Sequence[str]) -> Index:
    """Read the sample, and return the index.

    Args:
        raw: the dataset; both splits are in files.
        sizes: bytes of each training file and of each test file.
        undecodable: names of files that were left out.

    Raises:
        DataError: an image of the sample cannot be read or decoded.
    """
    sha = hashlib.sha256(json.dumps(["streamed", raw.classes], ensure_ascii=False).encode())
    splits = [split for split in (raw.train, raw.test) if isinstance(split, FileSplit)]
    for split, lengths in zip(splits, sizes, strict=True):
        sha.update(json.dumps([split.fit.size, split.fit.resize, len(split)]).encode())
        if split.order is not None:
            sha.update(np.ascontiguousarray(split.order, dtype="<i8").data)
        sha.update("\0".join(split.names).encode("utf-8", "surrogateescape"))
        for numbers in (split.labels, lengths):
            sha.update(np.asarray(numbers, dtype="<i8").data)
    train = splits[0]
    chosen = sample(train)
    tallies = np.zeros((3, 256), dtype=np.int64)

    def read(index: int) -> tuple[bytes, Pixels]:
        path = train.path(index)
        data = paths.read(path)
        return hashlib.sha256(data).digest(), train.fit.decode(data, path)

    what = f"reading a sample of {printable(str(train.root))}"
    for content, image in progress(in_threads(read, chosen.tolist()), what, len(chosen)):
        sha.update(content)
        tallies += counts(image[None])
    mean, std = moments(tallies)
    return Index(sha.hexdigest(), mean, std, tuple(undecodable))


def sample(split: FileSplit) -> Labels:
    """Choose ``SAMPLE`` images, or all if there are fewer; sorted indices, int64."""
    if len(split) <= SAMPLE:
        return np.arange(len(split))
    drawn = draws(f"sample {len(split)}", len(split))
    return np.sort(np.argsort(drawn, kind="stable")[:SAMPLE]).astype(np.int64)
