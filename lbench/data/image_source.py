"""Datasets of image files: decoded once into the cache, or streamed where they are large."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pydantic

from lbench.config import DatasetConfig, param
from lbench.data import stream_index
from lbench.data.dataset import Dataset, Location, Raw, RawFile
from lbench.data.file_split import FileSplit
from lbench.data.fit import Fit
from lbench.data.folders import image_name
from lbench.data.image_files import ImageFiles, decoded, in_threads
from lbench.data.paths import read
from lbench.data.progress import progress
from lbench.data.source import Source, with_notes
from lbench.data.stream_index import Index, examine
from lbench.errors import DataError, printable

LARGEST = 1024
"""Largest side in pixels; an image of this size has 3 MiB."""
RESIDENT = 1 << 32
"""Largest number of bytes of decoded images that ``stream=auto`` keeps in memory."""


class ImageSource(Source):
    """A dataset of image files. Subclasses implement ``look`` and ``listed``.

    Class attributes:
        usual_resize: the shorter side before the centre is cropped, in sizes of the result, if
            the option ``resize`` is not given.
    """

    usual_resize: ClassVar[float] = 1.0

    class Config(DatasetConfig):
        """Options of image files: the shorter side is resized to ``resize``, the centre cropped."""

        size: int = param(32, low=1, high=LARGEST, help="Height and width in pixels")
        resize: int | None = param(
            None,
            low=1,
            high=2 * LARGEST,
            help="Shorter side before the centre is cropped; none for the dataset's usual one",
        )
        stream: Literal["auto", "yes", "no"] = param(
            "auto",
            help="Decode images when they are needed; auto: if all take over 4 GiB",
        )
        skip_bad: bool = param(
            False, help="Leave out images that cannot be decoded, and count them in a note"
        )

        @pydantic.model_validator(mode="after")
        def _check_resize(self) -> Self:
            if self.resize is not None and self.resize < self.size:
                raise ValueError(
                    f"resize must be at least size ({self.size}), but got {self.resize}"
                )
            return self

    config: ImageSource.Config

    @abstractmethod
    def listed(self, location: Location) -> ImageFiles:
        """List the image files of both splits with their labels; no image is opened.

        Raises:
            DataError: an image has no label, or a class of test images no training images.
        """

    @property
    def fit(self) -> Fit:
        """Return how images become squares."""
        size = self.config.size
        return Fit(size, self.config.resize or round(self.usual_resize * size))

    def options(self) -> dict[str, Any]:
        """Return the options that are part of a run's fingerprint.

        ``stream`` and ``skip_bad`` are none: the digest of streamed data differs from that of
        decoded data, and damaged images that are left out are not in it.
        """
        without = {"stream", "skip_bad", *(() if self.config.resize else ("resize",))}
        return {name: v for name, v in super().options().items() if name not in without}

    def cache_options(self) -> dict[str, Any]:
        """Return the options that decide the content of the cache file."""
        return {**self.options(), **({"skip_bad": True} if self.config.skip_bad else {})}

    def streams(self, location: Location) -> bool:
        """Return whether images are decoded when they are needed, and not all in advance.

        With ``stream=auto`` the decoded size alone decides, so that every machine does the same.
        """
        if self.config.stream != "auto":
            return self.config.stream == "yes"
        images = sum(image_name(file.path.name) for file in location.files)
        return images * 3 * self.config.size**2 > RESIDENT

    def read(self, location: Location) -> Raw:
        """Decode, resize and crop every image."""
        return decoded(self.listed(location), self.fit, skip=self.config.skip_bad)

    def open(self, location: Location, cache_dir: Path | str | None = None) -> Dataset:
        """Open the dataset: decoded on first use, or streamed."""
        if not self.streams(location):
            return super().open(location, cache_dir)
        images = self.listed(location)

        def build() -> Index:
            bad = undecodable(images, self.fit) if self.config.skip_bad else []
            good = images.without(bad)
            sizes = [[file.size for file in split.files] for split in (good.train, good.test)]
            return examine(self._in_files(good, location), sizes, bad)

        index = stream_index.fetch(self.cache_path(location, cache_dir), self.name, build)
        return self._streamed(images, index, location)

    def ready(self, location: Location, cache_dir: Path | str | None = None) -> Dataset | None:
        """Open the dataset if that takes no decoding; return None otherwise."""
        if not self.streams(location):
            return super().ready(location, cache_dir)
        index = stream_index.load(self.cache_path(location, cache_dir))
        if index is None:
            return None
        return with_notes(self._streamed(self.listed(location), index, location), location)

    def cache_path(self, location: Location, cache_dir: Path | str | None = None) -> Path:
        """Return the path of the decoded data, or of the index of streamed images."""
        path = super().cache_path(location, cache_dir)
        return path.with_suffix(".json") if self.streams(location) else path

    def _in_files(self, images: ImageFiles, location: Location) -> Raw:
        """Return the images without decoding any, checked and named."""
        train, test = (
            FileSplit.of(split, images.root, self.fit) for split in (images.train, images.test)
        )
        raw = Raw(images.title, images.variant, images.classes, train, test, images.notes)
        return self.checked(raw, location)

    def _streamed(self, images: ImageFiles, index: Index, location: Location) -> Dataset:
        raw = self._in_files(images.without(index.undecodable), location)
        return Dataset(
            name=self.name,
            title=f"{raw.title}, streamed",
            variant=f"{raw.variant}, streamed",
            digest=index.digest,
            classes=raw.classes,
            mean=index.mean,
            std=index.std,
            train=raw.train,
            test=raw.test,
            notes=(*raw.notes, stream_note(raw)),
        )


def undecodable(images: ImageFiles, fit: Fit) -> list[str]:
    """Decode all images; return the paths below the root of those that cannot be, sorted."""

    def fails(file: RawFile) -> bool:
        data = read(file.path)
        try:
            fit.decode(data, str(file.path))
        except DataError:
            return True
        return False

    files = [*images.train.files, *images.test.files]
    what = f"looking for damaged images in {printable(str(images.root))}"
    failed = progress(in_threads(fails, files), what, len(files))
    paths = [file.path for file, bad in zip(files, failed, strict=True) if bad]
    return sorted(str(path.relative_to(images.root)) for path in paths)


def stream_note(raw: Raw) -> str:
    """Return the note that says how large streamed images would be in memory."""
    length = raw.train.nbytes + raw.test.nbytes
    size = f"{length / 1e9:.3g} GB" if length >= 1e9 else f"{length / 1e6:.3g} MB"
    return (
        f"Images are decoded when they are needed: together they would take {size}. With --data "
        "stream=no they are decoded once and kept in memory."
    )
