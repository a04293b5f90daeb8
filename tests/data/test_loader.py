"""Batches are functions of seed, epoch and position, and have the documented pixels."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.data.augment import Augmentation
from lbench.data.dataset import Split
from lbench.data.loader import Batches, DeviceData, Noise, epoch_order
from lbench.errors import UsageError

N, BATCH = 53, 8


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 3, 6, 5), dtype=np.uint8)
    images.setflags(write=False)  # as when memory-mapped
    return Split(images, np.arange(N) % 10)


def noise(seed: int) -> Noise:
    def draw(stream: str, index: int) -> torch.Generator:
        digest = hashlib.sha256(f"{seed} {stream} {index}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))

    return draw


def batches(split: Split, seed: int = 0, augment: str = "crop2,flip") -> Batches:
    return Batches(DeviceData.of(split), BATCH, noise(seed), Augmentation.parse(augment))


def same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_pixels_are_divided_by_255(split: Split) -> None:
    images, labels = DeviceData.of(split).batch(torch.tensor([3, 50]))
    np.testing.assert_allclose(images.numpy(), split.images[[3, 50]] / 255, rtol=1e-6)
    assert images.dtype == torch.float32
    assert labels.tolist() == [3, 0]


def test_standardised_pixels_have_the_given_moments(split: Split) -> None:
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.0)
    images, _ = DeviceData.of(split, None, "cpu", mean, std).batch(torch.arange(N))
    shape = (1, 3, 1, 1)
    expected = (split.images / 255 - np.reshape(mean, shape)) / np.reshape((0.2, 0.3, 1), shape)
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-6)


def test_indices_choose_the_examples(split: Split) -> None:
    data = DeviceData.of(split, np.array([5, 9]))
    images, labels = data.batch(torch.tensor([1]))
    assert len(data) == 2
    assert labels.tolist() == [9]
    np.testing.assert_allclose(images.numpy(), split.images[[9]] / 255, rtol=1e-6)


def test_a_split_may_be_empty(split: Split) -> None:
    data = DeviceData.of(split, np.array([], dtype=np.int64))
    images, labels = data.batch(torch.arange(0))
    assert (len(data), len(labels)) == (0, 0)
    assert images.shape == (0, 3, 6, 5)


def test_an_epoch_visits_every_example_once(split: Split) -> None:
    run = batches(split)
    sizes = [len(labels) for _, labels in run.epoch(2)]
    assert sizes == [8] * 6 + [5]
    assert len(run) == 7
    assert sorted(torch.cat([run.indices(2, p) for p in range(len(run))]).tolist()) == [*range(N)]


def test_a_batch_is_the_same_when_produced_directly(split: Split) -> None:
    run = batches(split)
    walked = {(e, p): b for e in range(5) for p, b in enumerate(run.epoch(e))}
    assert same(batches(split).batch(3, 6), walked[3, 6])
    resumed = list(batches(split).epoch(3, start=4))
    assert all(same(b, walked[3, 4 + i]) for i, b in enumerate(resumed))
    assert len(resumed) == 3


def test_seed_epoch_and_position_all_matter(split: Split) -> None:
    first = batches(split).batch(1, 2)
    assert same(first, batches(split).batch(1, 2))
    others = [batches(split, 1).batch(1, 2), batches(split).batch(2, 2), batches(split).batch(1, 3)]
    assert not any(same(first, other) for other in others)


def test_the_order_does_not_depend_on_the_augmentation(split: Split) -> None:
    plain, augmented = batches(split, augment=""), batches(split)
    assert torch.equal(plain.indices(1, 2), augmented.indices(1, 2))
    assert torch.equal(plain.order(4), epoch_order(N, noise(0)("order", 4)))


def test_loading_does_not_use_the_global_generator(split: Split) -> None:
    before = torch.get_rng_state()
    list(batches(split).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_wrong_sizes_are_refused(split: Split) -> None:
    with pytest.raises(UsageError, match="got 0"):
        Batches(DeviceData.of(split), 0, noise(0))
    with pytest.raises(UsageError, match="6x5"):
        batches(split, augment="crop5")
    with pytest.raises(IndexError):
        batches(split).batch(0, 7)


@pytest.mark.parametrize("augment", ["", "resizedcrop,flip,jitter,cutout2", "crop2", "translate2"])
def test_batches_are_made_on_the_device_of_the_images(augment: str) -> None:
    images = torch.zeros(N, 3, 6, 5, dtype=torch.uint8, device="meta")
    labels = torch.zeros(N, dtype=torch.int64, device="meta")
    data = DeviceData(images, labels, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    batches = Batches(data, BATCH, noise(0), Augmentation.parse(augment))
    made = [*data.walk(BATCH), batches.batch(0, 0)]
    assert all(x.is_meta and target.is_meta for x, target in made)
