"""The option permute puts the pixels of all images into one order, and excludes augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lbench.data.digits import Digits
from lbench.data.imagefolder import ImageFolder
from lbench.data.mnist import Mnist
from lbench.data.permutation import permutation, reorder
from lbench.data.status import status
from lbench.errors import UsageError
from tests.training.helper import ask


def test_permuted_images_are_the_plain_ones_in_one_order() -> None:
    plain, permuted = Digits().load(), Digits(permute="1").load()
    order = permutation("1", (1, 8, 8))
    assert sorted(order) == list(range(64))
    assert (order != np.arange(64)).any()
    for before, after in ((plain.train, permuted.train), (plain.test, permuted.test)):
        expected = before.images.reshape(len(before), 64)[:, order]
        np.testing.assert_array_equal(after.images.reshape(len(before), 64), expected)
        np.testing.assert_array_equal(after.labels, before.labels)
    assert (permuted.mean, permuted.std) == (plain.mean, plain.std)


def test_a_permutation_never_changes() -> None:
    # Fixed values: another order would be another dataset under the same name.
    assert permutation("1", (1, 3, 3)).tolist() == [0, 1, 8, 6, 7, 4, 3, 2, 5]
    assert Digits(permute=1).load().digest == DIGEST


DIGEST = "d49665837bb8c2959d30505d59b607991928a706810766a48f54851bb815242d"


def test_a_permutation_depends_on_seed_and_shape() -> None:
    orders = [permutation("1", (1, 4, 6)), permutation("2", (1, 4, 6)), permutation("1", (3, 4, 6)),
              permutation("1", (1, 6, 4))]  # fmt: skip
    assert len({tuple(order) for order in orders}) == 4


def test_all_channels_of_a_pixel_move_together() -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(1, 3, 2, 4) % 8
    moved = reorder(images, permutation("1", (3, 2, 4)))
    assert (moved == moved[:, :1]).all()


def test_a_permuted_dataset_has_a_title_variant_and_digest_of_its_own() -> None:
    plain, first, second = (Digits(permute=seed).load() for seed in (None, 1, 2))
    assert first.title == "Digits (8x8), pixels permuted (1)"
    assert first.variant == "embedded, pixels permuted (1)"
    assert len({plain.digest, first.digest, second.digest}) == 3


def test_every_dataset_has_the_option_and_a_cache_file_for_it(
    mnist_dir: Path, own_caches: Path
) -> None:
    plain, permuted = Mnist().load(mnist_dir), Mnist(permute=1).load(mnist_dir)
    assert permuted.title == f"{plain.title}, pixels permuted (1)"
    assert len(list(own_caches.glob("mnist-*.bin"))) == 2
    assert Mnist().load(mnist_dir).digest == plain.digest
    assert status(Mnist(permute=1), mnist_dir)["digest"] == permuted.digest
    assert ImageFolder(size=8, permute=3).options() == {"permute": 3, "size": 8}


def test_the_option_is_part_of_the_fingerprint_and_the_id() -> None:
    plain, permuted = ask(), ask(data_options={"permute": "01"})
    assert permuted.cell.spec()["task"]["options"] == {"permute": 1}
    assert plain.cell.spec()["task"]["options"] == {}
    assert ",permute=1@" in permuted.cell.id
    assert ask(data_options={"permute": "none"}).cell.id == plain.cell.id


@pytest.mark.parametrize("augmentation", ["crop1", "translate1", "flip"])
@pytest.mark.parametrize("dataset", ["digits", "permuted-digits"])
def test_an_augmentation_of_permuted_pixels_is_refused(augmentation: str, dataset: str) -> None:
    options = {"permute": 1} if dataset == "digits" else {}
    with pytest.raises(UsageError, match=f"{augmentation} moves pixels") as caught:
        ask(dataset=dataset, data_options=options, augmentation=augmentation)
    assert "--augment none" in caught.value.hint
    assert ask(dataset=dataset, data_options=options, augmentation="").cell.augmentation == ""


@pytest.mark.parametrize("seed", [-1, "x", 1.5, True, ""])
def test_a_wrong_seed_is_refused(seed: object) -> None:
    with pytest.raises(
        UsageError, match=r"permute of dataset digits .* of at least 0 or none, but got"
    ) as caught:
        Digits(permute=seed)
    assert "lbench datasets digits" in caught.value.hint
