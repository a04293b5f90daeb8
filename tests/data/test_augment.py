"""Augmentations equal loops over images, and their texts are parsed and refused as documented."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lbench.data import _torchvision
from lbench.data.augment import Augmentation, Crop, Flip, Translate
from lbench.data.crop_box import crop_boxes
from lbench.data.operations import Cutout, Jitter, ResizedCrop
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


def reference_box(uniform: list[float], smallest: float, height: int, width: int) -> list[int]:
    """Return a box as torchvision's loop over ten tries finds it: left, top, right, bottom."""
    for area_number, ratio_number in zip(uniform[:10], uniform[10:20], strict=True):
        area = height * width * (smallest + (1 - smallest) * area_number)
        ratio = (3 / 4) * (16 / 9) ** ratio_number
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(uniform[20] * (height - h + 1)), int(uniform[21] * (width - w + 1))
            return [left, top, left + w, top + h]
    w, h = width, height
    if width / height < 3 / 4:
        h = round(width / (3 / 4))
    elif width / height > 4 / 3:
        w = round(height * (4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return [left, top, left + w, top + h]


@pytest.mark.parametrize("size", [(375, 500), (64, 64), (20, 400), (400, 20), (1, 1), (1, 60)])
def test_boxes_are_those_of_a_loop_over_tries(size: tuple[int, int]) -> None:
    uniform = ResizedCrop(8).draw(300, generator()).numpy()
    boxes = crop_boxes(uniform, 0.08, *size).T.tolist()
    assert boxes == [reference_box(list(column), 0.08, *size) for column in uniform.T]


def test_boxes_have_the_distribution_of_torchvision() -> None:
    transforms = _torchvision.load("transforms")
    count, height, width = 4000, 375, 500
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    drawn = [
        transforms.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
        for _ in range(count)
    ]
    theirs = torch.tensor(drawn, dtype=torch.float64)  # top, left, height, width
    boxes = torch.from_numpy(
        crop_boxes(ResizedCrop(8).draw(count, generator()).numpy(), 0.08, height, width)
    )
    ours = torch.stack([boxes[1], boxes[0], boxes[3] - boxes[1], boxes[2] - boxes[0]], 1)
    spread = theirs.std(0)
    assert ((ours.mean(0) - theirs.mean(0)).abs() / spread < 4 * math.sqrt(2 / count)).all()
    assert torch.allclose(ours.std(0) / spread, torch.ones(4, dtype=torch.float64), atol=0.05)


def test_a_resized_crop_is_a_crop_that_torchvision_resizes() -> None:
    functional = _torchvision.load("transforms.v2").functional
    batch = torch.rand(12, 3, 5, 7, generator=generator(1))
    batch = torch.nn.functional.interpolate(batch, (40, 56), mode="bilinear").mul(255).byte()
    cropped = Augmentation.parse("resizedcrop")(batch, generator())
    uniform = ResizedCrop(8).draw(len(batch), generator()).numpy()
    for image, before, box in zip(
        cropped, batch, crop_boxes(uniform, 0.08, 40, 56).T.astype(int).tolist(), strict=True
    ):
        left, top, right, bottom = box
        expected = functional.resized_crop(
            before, top, left, bottom - top, right - left, [40, 56], antialias=True
        )
        # Behind the border of a box torchvision repeats its last pixels; here the image goes on.
        inner = (image.int() - expected.int()).abs()[:, 6:-6, 6:-6]
        assert inner.max() <= 1
    assert cropped.dtype == torch.uint8


def test_jitter_is_that_of_torchvision_image_by_image() -> None:
    functional = _torchvision.load("transforms.v2").functional
    batch = images(20)
    jittered = Augmentation.parse("jitter40")(batch, generator())
    factors = Jitter(40).draw(len(batch), generator())
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    for image, before, (bright, contrast, colour) in zip(
        jittered, batch.float() / 255, factors.T.tolist(), strict=True
    ):
        expected = functional.adjust_brightness(before, bright)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, colour)
        assert (image.float() - 255 * expected).abs().max() <= 0.51


def test_jitter_changes_brightness_and_contrast_of_grey_images() -> None:
    batch = images()[:, :1]
    jittered = Augmentation.parse("jitter")(batch, generator())
    assert jittered.shape == batch.shape
    assert (jittered != batch).any((1, 2, 3)).float().mean() > 0.9


def test_cutout_is_that_of_a_loop_over_images() -> None:
    batch = images(60)
    augmented = Augmentation.parse("cutout4")(batch, generator())
    drawn = Cutout(4).draw(len(batch), generator())
    for image, before, (row, column) in zip(augmented, batch, drawn.T.tolist(), strict=True):
        expected = before.clone()
        top, left = int(row * 6) - 2, int(column * 9) - 2
        expected[:, max(top, 0) : max(top + 4, 0), max(left, 0) : max(left + 4, 0)] = 0
        assert torch.equal(image, expected)


def test_amounts_in_percent_have_a_default_and_limits() -> None:
    assert str(Augmentation.parse("flip,resizedcrop")) == "resizedcrop8,flip"
    assert str(Augmentation.parse("jitter,resizedcrop35")) == "resizedcrop35,jitter40"
    for text in ("jitter0", "resizedcrop101"):
        with pytest.raises(UsageError, match="from 1 to 100"):
            Augmentation.parse(text)
    with pytest.raises(UsageError, match="cutout6 can cover images of 6x9"):
        Augmentation.parse("cutout6").check(6, 9)
    Augmentation.parse("resizedcrop,jitter").check(1, 1)
