"""Augmentations equal loops over images, and their texts are parsed and refused as documented."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lbench.data.augment import Augmentation, Crop, Flip, Translate
from lbench.errors import UsageError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 40) -> Tensor:
    return torch.randint(1, 256, (count, 3, 6, 9), dtype=torch.uint8, generator=generator(9))


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Return an image that is shifted pixel by pixel and filled up with zeros."""
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


@pytest.mark.parametrize(("text", "operation"), [("crop4", Crop(4)), ("translate2", Translate(2))])
def test_shifts_are_those_of_a_loop_over_images(text: str, operation: Crop) -> None:
    batch = images()
    augmented = Augmentation.parse(text)(batch, generator())
    rows, columns = operation.draw(len(batch), generator()).tolist()
    for image, before, row, column in zip(augmented, batch, rows, columns, strict=True):
        expected = shifted(before, operation.amount - row, operation.amount - column)
        assert torch.equal(image, expected)
    assert augmented.dtype == torch.uint8


def test_flip_is_that_of_a_loop_over_images() -> None:
    batch = images()
    augmented = Augmentation.parse("flip")(batch, generator())
    (drawn,) = Flip().draw(len(batch), generator()).tolist()
    for image, before, flip in zip(augmented, batch, drawn, strict=True):
        assert torch.equal(image, before.flip(-1) if flip else before)
    assert 0 < sum(drawn) < len(drawn)


def test_operations_are_applied_one_after_another_with_one_generator() -> None:
    batch, chance = images(), generator()
    cropped = Augmentation.parse("crop2")(batch, chance)
    expected = Augmentation.parse("flip")(cropped, chance)
    assert torch.equal(Augmentation.parse("flip,crop2")(batch, generator()), expected)


def test_the_input_batch_does_not_change() -> None:
    batch = images()
    before = batch.clone()
    Augmentation.parse("crop4,translate2,flip")(batch, generator())
    assert torch.equal(batch, before)


def test_crop_offsets_are_uniform_and_translate_ends_are_half_as_likely() -> None:
    count = 200_000
    crop = torch.bincount(Crop(2).draw(count, generator()).flatten(), minlength=5) / (2 * count)
    assert torch.allclose(crop, torch.full((5,), 0.2), atol=0.005)
    drawn = Translate(2).draw(count, generator())
    translate = torch.bincount(drawn.flatten(), minlength=5) / (2 * count)
    assert torch.allclose(translate, torch.tensor([1, 2, 2, 2, 1]) / 8, atol=0.005)


def test_a_flip_of_images_one_pixel_wide_is_refused() -> None:
    with pytest.raises(UsageError, match="images of 8x1 are their own mirror"):
        Augmentation.parse("flip").check(8, 1)


@pytest.mark.parametrize("text", ["", "crop4", "crop4,flip", "crop1,translate2,flip"])
def test_parsing_the_text_of_an_augmentation_gives_the_same_one(text: str) -> None:
    augmentation = Augmentation.parse(text)
    assert str(augmentation) == text
    assert Augmentation.parse(str(augmentation)) == augmentation
    assert bool(augmentation) == bool(text)


def test_equal_augmentations_have_equal_texts() -> None:
    assert str(Augmentation.parse(" flip , crop04")) == "crop4,flip"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("crpo4", "'crpo4'"),
        ("crop", "above 0"),
        ("crop0", "above 0"),
        ("flip3", "no number"),
        ("crop4,crop2", "twice"),
        ("crop-4", "'crop-4'"),
    ],
)
def test_a_wrong_text_says_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        Augmentation.parse(text)
    assert "crop4,flip" in caught.value.hint


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        Augmentation.parse("fliip")
    assert "Did you mean flip?" in caught.value.hint


def test_a_shift_beyond_the_image_is_refused() -> None:
    Augmentation.parse("crop7").check(8, 9)
    with pytest.raises(UsageError, match="8x9"):
        Augmentation.parse("crop8").check(8, 9)
