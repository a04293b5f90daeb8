"""torchvision's readers get the same arrays from the same files, and verify the same check sums."""

from __future__ import annotations

import functools
import gzip
import http.server
import importlib.util
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lbench.data import _torchvision, cifar10, cifar100, emnist, mnist, stl10, svhn
from lbench.data.checksum import file_md5
from lbench.data.mnist import Mnist
from tests.data.published import DATASETS


@pytest.fixture(scope="module")
def vision() -> ModuleType:
    """Return ``torchvision.datasets``."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    return _torchvision.load("datasets")


def test_check_sums_are_those_that_torchvision_verifies(vision: ModuleType) -> None:
    for cls, sums in ((vision.CIFAR10, cifar10.MD5), (vision.CIFAR100, cifar100.MD5)):
        theirs = dict([*cls.train_list, *cls.test_list])
        assert theirs == {name: value for name, value in sums.items() if name != "meta"}
    assert vision.CIFAR100.meta["md5"] == cifar100.MD5["meta"]
    for cls, title in ((vision.FashionMNIST, "Fashion-MNIST"), (vision.KMNIST, "KMNIST")):
        assert tuple(value for _, value in cls.resources) == mnist.MD5[title]
        assert [name for name, _ in cls.resources] == [f"{name}.gz" for name in mnist.FILES]
    assert vision.EMNIST.md5 == emnist.ARCHIVE_MD5
    assert {part: row[2] for part, row in vision.SVHN.split_list.items()} == svhn.MD5
    theirs = dict([*vision.STL10.train_list, *vision.STL10.test_list])
    assert {name: theirs[name] for name in stl10.MD5} == stl10.MD5


def test_classes_are_those_of_torchvision(vision: ModuleType) -> None:
    assert tuple(vision.FashionMNIST.classes) == mnist.FashionMnist.class_names
    assert tuple(vision.KMNIST.classes) == mnist.Kmnist.class_names
    theirs = vision.EMNIST.classes_split_dict
    for split, classes in emnist.CLASSES.items():
        assert tuple(theirs[split])[int(split == "letters") :] == classes


def relaxed(cls: Any, **changes: Any) -> Any:
    """Return a class of torchvision that expects the check sums of the test's own files."""
    return type(cls.__name__, (cls,), changes)


def listed(names: Iterable[str], folder: Path) -> list[list[str]]:
    return [[name, file_md5(folder / name)] for name in names]


def readers(vision: ModuleType, name: str, root: Path) -> tuple[Any, Any]:
    """Return torchvision's training and test set of the files that ``name`` writes to ``root``."""
    published = DATASETS[name]
    folder = root / published.folder
    if name in ("fashion-mnist", "kmnist", "emnist"):
        cls = getattr(vision, published.source.torchvision)
        raw = root / published.source.torchvision / "raw"
        raw.mkdir(parents=True)
        for path in root.glob("*.gz"):
            (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        split = {"split": "balanced"} if name == "emnist" else {}
        return cls(root, train=True, **split), cls(root, train=False, **split)
    if name == "cifar100":
        meta = vision.CIFAR100.meta | {"md5": file_md5(folder / "meta")}
        cls = relaxed(
            vision.CIFAR100,
            train_list=listed(["train"], folder),
            test_list=listed(["test"], folder),
            meta=meta,
        )
        return cls(root, train=True), cls(root, train=False)
    if name == "stl10":
        (folder / "unlabeled_X.bin").write_bytes(b"")
        cls = relaxed(
            vision.STL10,
            train_list=listed(["train_X.bin", "train_y.bin", "unlabeled_X.bin"], folder),
            test_list=listed(["test_X.bin", "test_y.bin"], folder),
        )
    else:
        files = {part: f"{part}_32x32.mat" for part in ("train", "test")}
        rows = {part: ["", file, file_md5(root / file)] for part, file in files.items()}
        cls = relaxed(vision.SVHN, split_list=rows)
    return cls(root, split="train"), cls(root, split="test")


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist", "emnist", "cifar100", "stl10", "svhn"])
def test_torchvision_reads_the_same_arrays(tmp_path: Path, vision: ModuleType, name: str) -> None:
    published = DATASETS[name]
    root = published.written(tmp_path / "data")
    ours = published.source(**published.options).load(root, download=False)
    for split, theirs in zip((ours.train, ours.test), readers(vision, name, root), strict=True):
        images = np.asarray(theirs.data)
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[-1] == 3:
            images = images.transpose(0, 3, 1, 2)
        if name == "emnist":
            # torchvision leaves the images as they are stored.
            images = images.transpose(0, 1, 3, 2)
        np.testing.assert_array_equal(split.images, images)
        labels = theirs.targets if hasattr(theirs, "targets") else theirs.labels
        np.testing.assert_array_equal(split.labels, labels)


def test_mnist_is_read_as_torchvision_reads_it(real_data: Path, tmp_path: Path) -> None:
    vision = _torchvision.load("datasets")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (real_data / "mnist" if (real_data / "mnist").is_dir() else real_data).glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    ours = Mnist().load(tmp_path, download=False)
    theirs = vision.MNIST(tmp_path, train=False)
    np.testing.assert_array_equal(ours.test.images[:, 0], theirs.data)
    np.testing.assert_array_equal(ours.test.labels, theirs.targets)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder over HTTP; yield the folder and its address."""
    folder = tmp_path / "server"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("extra", [False, True])
def test_a_download_gets_the_files_that_are_missing(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, vision: ModuleType, extra: bool
) -> None:
    folder, address = server
    DATASETS["svhn extra"].written(folder)
    files = {part: f"{part}_32x32.mat" for part in ("train", "test", "extra")}
    rows = {
        part: [f"{address}/{file}", file, file_md5(folder / file)] for part, file in files.items()
    }
    monkeypatch.setattr(vision, "SVHN", relaxed(vision.SVHN, split_list=rows))
    source = svhn.Svhn(extra=extra)
    if extra:
        svhn.Svhn().load()
        assert source.downloads() == [{"split": "extra"}]
    data = source.load()
    assert len(data.train) == (60 if extra else 40)
    assert source.downloads() == []
    assert sorted(path.name for path in source.download_dir.iterdir()) == sorted(
        file for part, file in files.items() if extra or part != "extra"
    )
