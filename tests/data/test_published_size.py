"""A part of a dataset never has the title of the whole, and neither has a larger copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lbench import Location, PublishedSize, Raw, Source, Split
from lbench.data.digits import FILE


class Tiny(Source):
    """Digits, as published with 20 classes of 100 training and 10 test images each."""

    name, title, cached = "tiny", "Tiny", False
    published_size = PublishedSize(classes=20, train=2_000, test=200, balanced=True)
    counts = ([100] * 20, [10] * 20)
    variant = "canonical"

    def look(self, directory: Path) -> Location:
        return Location.of(FILE, "npz", [FILE])

    def read(self, location: Location) -> Raw:
        train, test = (split(counts) for counts in self.counts)
        classes = tuple(f"class {label}" for label in range(len(self.counts[0])))
        return Raw(self.title, self.variant, classes, train, test)


def split(counts: Sequence[int]) -> Split:
    """Return a split of one real digit, repeated, with this number of images per class."""
    with np.load(FILE) as arrays:
        image = arrays["images"][:1, None]
    return Split(np.repeat(image, sum(counts), axis=0), np.repeat(np.arange(len(counts)), counts))


def loaded(train: list[int], test: list[int], permute: int | None = None) -> tuple[str, str]:
    source = Tiny(permute=permute)
    source.counts = (train, test)
    data = source.load(FILE.parent)
    return data.title, data.variant


def test_a_whole_copy_keeps_title_and_variant() -> None:
    assert loaded([100] * 20, [10] * 20) == ("Tiny", "canonical")


@pytest.mark.parametrize(
    ("train", "test", "difference"),
    [
        ([60] * 20, [5] * 20, "1,200 of 2,000 training images, 100 of 200 test images"),
        ([100] * 20, [10] * 19 + [9], "199 of 200 test images"),
        (
            [100] * 15,
            [10] * 15,
            "15 of 20 classes, 1,500 of 2,000 training images, 150 of 200 test images",
        ),
        ([100] * 19 + [101], [10] * 20, "2,001 instead of 2,000 training images"),
        (
            [101] * 21,
            [11] * 21,
            "21 instead of 20 classes, 2,121 instead of 2,000 training images, "
            "231 instead of 200 test images",
        ),
        ([99, 101] * 10, [10] * 20, "classes of other sizes than published"),
    ],
)
def test_another_size_is_in_title_and_variant(
    train: list[int], test: list[int], difference: str
) -> None:
    assert loaded(train, test) == (f"Tiny ({difference})", difference)


def test_a_permuted_part_says_both() -> None:
    title, variant = loaded([60] * 20, [10] * 20, permute=1)
    assert title == "Tiny (1,200 of 2,000 training images), pixels permuted (1)"
    assert variant == "1,200 of 2,000 training images, pixels permuted (1)"


def test_a_variant_is_kept_beside_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiny, "title", "Tiny (PNG)")
    monkeypatch.setattr(Tiny, "variant", "png")
    title, variant = loaded([100] * 20, [5] * 20)
    assert title == "Tiny (PNG, 100 of 200 test images)"
    assert variant == "png, 100 of 200 test images"


def test_classes_of_unequal_size_are_a_note() -> None:
    source = Tiny()
    source.counts = ([100] * 19 + [3], [10] * 19 + [0])
    assert [note for note in source.load(FILE.parent).notes if "per class" in note] == [
        "Training images per class: 3 to 100, where the published data has 100.",
        "Test images per class: 0 to 10, where the published data has 10.",
    ]
