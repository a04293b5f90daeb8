"""Published datasets are read bit for bit from their files, and damaged or partial ones refused."""

from __future__ import annotations

import gzip
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lbench.data import cifar100, emnist, mnist, stl10
from lbench.data.checksum import file_md5
from lbench.data.cifar100 import Cifar100
from lbench.data.emnist import CLASSES, SIZES, Emnist
from lbench.data.imagenet32 import Imagenet32
from lbench.data.mnist import FashionMnist, Kmnist, Mnist
from lbench.data.source import Source
from lbench.data.stl10 import Stl10
from lbench.data.svhn import Svhn
from lbench.errors import DataError
from tests.data.published import DATASETS, TEST, TRAIN, Bytes, dump
from tests.training.helper import ask

SIZE = f"{TRAIN} of {{train:,}} training images, {TEST} of {{test:,}} test images"


@pytest.mark.parametrize("name", DATASETS)
def test_images_and_labels_are_those_of_the_files(tmp_path: Path, name: str) -> None:
    published = DATASETS[name]
    source = published.source(**published.options)
    data = source.load(published.written(tmp_path / "data"), download=False)
    np.testing.assert_array_equal(data.train.images, published.train())
    np.testing.assert_array_equal(data.test.images, published.test())
    np.testing.assert_array_equal(data.train.labels, published.labels(TRAIN))
    np.testing.assert_array_equal(data.test.labels, published.labels(TEST))
    assert data.num_classes == published.classes
    assert data.name == source.name


@pytest.mark.parametrize("name", DATASETS)
def test_a_part_of_the_published_images_is_named(tmp_path: Path, name: str) -> None:
    published = DATASETS[name]
    source = published.source(**published.options)
    data = source.load(published.written(tmp_path / "data"), download=False)
    size = source.published_size
    assert size is not None
    difference = SIZE.format(train=size.train, test=size.test)
    assert difference in data.title
    assert difference in data.variant
    assert data.title.startswith(source.title)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": half,
    "a byte short": lambda data: data[:-1],
    "empty": lambda data: b"",
    "a web page": lambda data: b"<!DOCTYPE html><title>404 Not Found</title>",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", DATASETS)
def test_every_damaged_file_is_refused_by_name(
    tmp_path: Path, own_caches: Path, name: str, damage: str
) -> None:
    published = DATASETS[name]
    directory = published.written(tmp_path / "data")
    source = published.source(**published.options)
    for path in sorted((directory / published.folder).iterdir()):
        content = path.read_bytes()
        path.write_bytes(DAMAGE[damage](content))
        with pytest.raises(DataError) as caught:
            source.load(directory, download=False)
        assert str(path.with_suffix("")) in caught.value.message
        assert caught.value.hint
        path.write_bytes(content)
    assert not list(own_caches.glob("*.bin"))


@pytest.mark.parametrize("name", DATASETS)
def test_every_missing_file_is_named(tmp_path: Path, name: str) -> None:
    published = DATASETS[name]
    directory = published.written(tmp_path / "data")
    for path in sorted((directory / published.folder).iterdir()):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError) as caught:
            published.source(**published.options).load(directory, download=False)
        texts = caught.value.message + caught.value.hint
        assert path.name.removesuffix(".gz") in texts
        path.write_bytes(content)


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)


@pytest.mark.parametrize("name", ["cifar100", "stl10"])
def test_an_archive_has_the_data_of_its_folder(tmp_path: Path, name: str) -> None:
    published = DATASETS[name]
    directory = published.written(tmp_path / "data")
    folder = directory / published.folder
    # STL-10's archive has most images in a file that is not read.
    (folder / "unlabeled_X.bin").write_bytes(b"anything")
    packed = tmp_path / "packed"
    packed.mkdir()
    pack(folder, packed / f"{published.folder}.tar.gz")
    source = published.source()
    digests = {source.load(place, download=False).digest for place in (directory, folder, packed)}
    assert len(digests) == 1
    archive = packed / f"{published.folder}.tar.gz"
    archive.write_bytes(half(archive.read_bytes()))
    with pytest.raises(DataError, match=f"{archive.name} is damaged or cut short"):
        source.load(packed, download=False)


def test_an_archive_without_one_of_its_files_is_refused(tmp_path: Path) -> None:
    folder = DATASETS["stl10"].written(tmp_path / "data") / "stl10_binary"
    (folder / "test_y.bin").unlink()
    pack(folder, tmp_path / "stl10_binary.tar.gz")
    with pytest.raises(DataError, match=r"stl10_binary.tar.gz lacks test_y.bin"):
        Stl10().load(tmp_path, download=False)


def test_imagenet32_is_read_from_its_folders_and_archives(tmp_path: Path) -> None:
    plain = DATASETS["imagenet32"].written(tmp_path / "plain")
    folders, packed = tmp_path / "folders", tmp_path / "packed"
    packed.mkdir()
    for which, names in (("train", "train_data_batch_*"), ("val", "val_data")):
        folder = folders / f"Imagenet32_{which}"
        folder.mkdir(parents=True)
        with zipfile.ZipFile(packed / f"Imagenet32_{which}.zip", "w") as archive:
            for path in plain.glob(names):
                (folder / path.name).write_bytes(path.read_bytes())
                archive.write(path, path.name)
    source = Imagenet32()
    digests = {source.load(place, download=False).digest for place in (plain, folders, packed)}
    assert len(digests) == 1
    archive_path = packed / "Imagenet32_train.zip"
    archive_path.write_bytes(half(archive_path.read_bytes()))
    with pytest.raises(DataError, match=r"Imagenet32_train.zip is damaged or cut short"):
        source.load(packed, download=False)


def test_the_archive_of_emnist_has_every_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, raw = tmp_path / "plain", tmp_path / "packed" / "EMNIST" / "raw"
    plain.mkdir()
    raw.mkdir(parents=True)
    DATASETS["emnist"].write(plain)
    DATASETS["emnist letters"].write(plain)
    with zipfile.ZipFile(raw / "gzip.zip", "w") as archive:
        for path in plain.iterdir():
            archive.write(path, f"gzip/{path.name}")
    monkeypatch.setattr(emnist, "ARCHIVE_MD5", file_md5(raw / "gzip.zip"))
    for split in ("balanced", "letters"):
        loose, packed = (
            Emnist(split=split).load(place, download=False)
            for place in (plain, tmp_path / "packed")
        )
        assert loose.digest == packed.digest
        assert loose.variant.startswith("not verified")
        assert packed.variant == SIZE.format(train=SIZES[split].train, test=SIZES[split].test)
        assert packed.title.startswith(f"EMNIST {split} (")
    with pytest.raises(DataError, match=r"gzip.zip lacks emnist-digits-train-images-idx3"):
        Emnist(split="digits").load(tmp_path / "packed", download=False)


def test_splits_of_emnist_have_the_published_numbers_of_classes() -> None:
    assert {split: len(names) for split, names in CLASSES.items()} == {
        "balanced": 47, "byclass": 62, "bymerge": 47, "letters": 26, "digits": 10, "mnist": 10,
    }  # fmt: skip
    assert {split: size.classes for split, size in SIZES.items()} == {
        split: len(names) for split, names in CLASSES.items()
    }
    assert all(len(set(names)) == len(names) for names in CLASSES.values())


def test_coarse_classes_and_extra_images_are_in_the_title(tmp_path: Path) -> None:
    coarse = Cifar100(classes="coarse").load(
        DATASETS["cifar100 coarse"].written(tmp_path / "cifar"), download=False
    )
    assert coarse.title.startswith("CIFAR-100 (modified, 20 coarse classes, 60 of 50,000")
    assert coarse.classes[:2] == ("coarse 0", "coarse 1")
    extra = Svhn(extra=True).load(DATASETS["svhn extra"].written(tmp_path / "svhn"), download=False)
    assert extra.title.startswith("SVHN with extra (modified, 60 of 604,388")


def test_extra_images_that_are_missing_are_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = DATASETS["svhn"].written(tmp_path / "small")
    whole = DATASETS["svhn extra"].written(tmp_path / "whole")
    with pytest.raises(DataError, match="'svhn' was not found") as caught:
        Svhn(extra=True).load(small, download=False)
    assert "extra_32x32.mat" in caught.value.hint
    monkeypatch.setenv("LBENCH_DATA", str(whole))
    assert Svhn(extra=True).find(small).root == whole
    assert Svhn().find(small).root == small


WRONG = {
    "a label of CIFAR-100": (
        "cifar100", "test", lambda batch: batch | {"fine_labels": [100] * TEST},
        "from 0 to 99",
    ),
    "a missing kind of label": (
        "cifar100", "test", lambda batch: {k: v for k, v in batch.items() if k != "fine_labels"},
        "fine_labels",
    ),
    "names of CIFAR-100": (
        "cifar100", "meta", lambda names: names | {"fine_label_names": ["one", "two"]},
        "2 names, not 100",
    ),
    "no names": ("cifar100", "meta", lambda names: {}, "has no fine_label_names"),
    "names that are no names": (
        "cifar100", "meta", lambda names: {"fine_label_names": 5}, "has no fine_label_names",
    ),
    "a label of ImageNet": (
        "imagenet32", "val_data", lambda batch: batch | {"labels": [0] * TEST}, "from 1 to 1000",
    ),
    "ImageNet at another size": (
        "imagenet32", "train_data_batch_3",
        lambda batch: batch | {"data": np.zeros((6, 768), np.uint8)}, "not (n, 3072)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_content_of_a_pickle_is_named(tmp_path: Path, case: str) -> None:
    name, file, change, words = WRONG[case]
    published = DATASETS[name]
    directory = published.written(tmp_path / "data")
    path = directory / published.folder / file
    dump(path, change(pickle.loads(path.read_bytes())))
    with pytest.raises(DataError) as caught:
        published.source().load(directory, download=False)
    assert str(path) in caught.value.message
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"y": np.ones((3, 1), np.uint8)}, "no images X"),
        ({"X": np.zeros((32, 32, 3, 3)), "y": np.ones((3, 1), np.uint8)}, "float64"),
        ({"X": np.zeros((3, 32, 32, 3), np.uint8), "y": np.ones((3, 1))}, r"\(3, 32, 32, 3\)"),
        ({"X": np.zeros((32, 32, 3, 3), np.uint8)}, "no labels y for 3 images"),
        ({"X": np.zeros((32, 32, 3, 3), np.uint8), "y": np.ones((2, 1))}, "2 labels y for 3"),
        ({"X": np.zeros((32, 32, 3, 3), np.uint8), "y": np.zeros((3, 1))}, "labels from 0 to 0"),
    ],
)
def test_wrong_content_of_a_matlab_file_is_named(
    tmp_path: Path, content: dict[str, Bytes], words: str
) -> None:
    from scipy.io import savemat

    directory = DATASETS["svhn"].written(tmp_path / "data")
    savemat(directory / "test_32x32.mat", content)
    with pytest.raises(DataError, match=rf"test_32x32.mat has .*{words}"):
        Svhn().load(directory, download=False)


@pytest.mark.parametrize(("label", "words"), [(0, "labels from 0 to"), (11, "to 11; they are 1")])
def test_a_wrong_label_of_stl10_is_named(tmp_path: Path, label: int, words: str) -> None:
    directory = DATASETS["stl10"].written(tmp_path / "data")
    path = directory / "stl10_binary" / "test_y.bin"
    path.write_bytes(bytes([label]) + path.read_bytes()[1:])
    with pytest.raises(DataError, match=words):
        Stl10().load(directory, download=False)


def test_a_wrong_label_of_the_letters_is_named(tmp_path: Path) -> None:
    directory = DATASETS["emnist letters"].written(tmp_path / "data")
    path = directory / "emnist-letters-test-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1] + b"\0"))
    with pytest.raises(DataError, match="the label 0; labels are 1 to 26"):
        Emnist(split="letters").load(directory, download=False)


def test_files_of_mnist_are_not_taken_for_those_of_another_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DATASETS["fashion-mnist"].written(tmp_path / "data")
    monkeypatch.setenv("LBENCH_DATA", str(tmp_path / "data"))
    assert Mnist().find().root == tmp_path / "data"
    for source in (FashionMnist(), Kmnist()):
        with pytest.raises(DataError, match="was not found"):
            source.find()
    for folder in ("fashion-mnist", "KMNIST/raw"):
        DATASETS["fashion-mnist"].written(tmp_path / "data" / folder)
    assert FashionMnist().find().root == tmp_path / "data" / "fashion-mnist"
    assert Kmnist().find().root == tmp_path / "data" / "KMNIST" / "raw"
    assert FashionMnist().find(tmp_path / "data").root == tmp_path / "data" / "fashion-mnist"
    assert Kmnist().find(tmp_path / "data" / "fashion-mnist").root.name == "fashion-mnist"


@pytest.mark.parametrize("source", [FashionMnist, Kmnist])
def test_published_files_of_mnist_are_refused(real_data: Path, source: type[Source]) -> None:
    with pytest.raises(DataError, match=r"is a file of MNIST, not of") as caught:
        source().load(real_data, download=False)
    assert "--data-dir" in caught.value.hint


def test_published_files_of_fashion_are_refused_as_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DATASETS["fashion-mnist"].written(tmp_path / "data")
    checksum = mnist.md5((directory / "train-images-idx3-ubyte.gz").read_bytes())
    monkeypatch.setattr(mnist, "TITLES", {checksum: "Fashion-MNIST"})
    with pytest.raises(DataError, match="is a file of Fashion-MNIST, not of MNIST"):
        Mnist().load(directory, download=False)


def test_gzipped_files_with_the_published_check_sums_are_canonical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DATASETS["fashion-mnist"].written(tmp_path / "data")
    sums = tuple(mnist.md5((directory / f"{name}.gz").read_bytes()) for name in mnist.FILES)
    monkeypatch.setattr(mnist, "MD5", {"Fashion-MNIST": sums})
    size = SIZE.format(train=60_000, test=10_000)
    data = FashionMnist().load(directory, download=False)
    assert (data.title, data.variant) == (f"Fashion-MNIST ({size})", size)
    for name in mnist.FILES:
        path = directory / f"{name}.gz"
        (directory / name).write_bytes(gzip.decompress(path.read_bytes()))
    # The gzipped files are preferred, because they can be verified.
    assert FashionMnist().load(directory, download=False).variant == size
    (directory / "t10k-labels-idx1-ubyte.gz").unlink()
    assert FashionMnist().load(directory, download=False).variant == f"not verified, {size}"


@pytest.mark.parametrize(("name", "module"), [("stl10", stl10), ("cifar100", cifar100)])
def test_files_with_the_published_check_sums_are_canonical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType
) -> None:
    published = DATASETS[name]
    directory = published.written(tmp_path / "data")
    source = published.source(**published.options)
    assert source.decode(source.find(directory)).variant.startswith("modified, 60 of")
    files = (directory / published.folder).iterdir()
    monkeypatch.setattr(module, "MD5", {path.name: file_md5(path) for path in files})
    assert source.decode(source.find(directory)).variant.startswith("60 of")


def test_permuted_pixels_are_not_augmented_by_default(tmp_path: Path) -> None:
    directory = DATASETS["cifar100"].written(tmp_path / "data")
    for options, augmentation in (({}, "crop4,flip"), ({"permute": 1}, "")):
        asked = ask(dataset="cifar100", network="mlp", data_dir=directory, data_options=options)
        assert asked.cell.augmentation == augmentation
        assert not any("augment" in change for change in asked.cell.changes)
