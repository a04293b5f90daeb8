"""Data that cannot be read is an error of the data with a message, whatever the reason."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data.dataset import Raw
from lbench.data.image_files import Rows
from lbench.data.imagefolder import ImageFolder, hold_out
from lbench.data.mnist import Mnist
from lbench.data.source import Location, Source
from lbench.errors import DataError, printable
from tests.permissions import POSIX, no_privileges
from tests.studies.helper import lbench

WriteImage = Callable[..., npt.NDArray[np.uint8]]


def pets(root: Path, write_image: WriteImage) -> Path:
    for label in ("cat", "dog"):
        for i in range(3):
            write_image(root / label / f"{i}.png", (8, 8, 3))
    return root


@POSIX
@pytest.mark.parametrize("closed", ["", "cat", "cat/0.png", "above"])
def test_missing_permission_is_an_error_of_the_data(
    shared: Path, write_image: WriteImage, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pets(shared / "above" / "pets", write_image)
    (shared / "cache").mkdir(mode=0o777)
    (shared / "cache").chmod(0o777)
    monkeypatch.setenv("LBENCH_CACHE", str(shared / "cache"))
    words = ["data", "prepare", "imagefolder", "--data", "size=8", "--data-dir", str(root)]
    path = shared / "above" if closed == "above" else root / closed
    assert lbench("data", "status", "digits").code == 0, "everything is imported"
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with no_privileges():
            result = lbench(*words)
            with pytest.raises(DataError, match=r"cannot be read: Permission denied"):
                ImageFolder(size=8).load(root)
    finally:
        path.chmod(mode)
    assert result.code == 3
    assert "cannot be read: Permission denied" in result.err
    assert str(root if closed == "above" else path) in result.err
    assert "you may read it" in result.err


@POSIX
def test_a_closed_folder_of_idx_files_is_an_error_of_the_data(
    shared: Path, mnist_dir: Path
) -> None:
    shutil.copytree(mnist_dir, shared / "mnist")
    (shared / "mnist").chmod(0)
    try:
        with no_privileges(), pytest.raises(DataError, match="Permission denied"):
            Mnist().load(shared / "mnist", download=False)
    finally:
        (shared / "mnist").chmod(0o755)


@pytest.fixture
def latin(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return class folders with the byte 0xff in some names, which is not UTF-8."""
    try:
        root = pets(tmp_path / os.fsdecode(b"pets\xff"), write_image)
    except OSError:
        pytest.skip("this file system takes no such names")
    (root / "cat").rename(root / os.fsdecode(b"cat\xff"))
    (root / "dog" / "0.png").rename(root / "dog" / os.fsdecode(b"0\xff.png"))
    (root / "dog" / os.fsdecode(b"a\xff.gif")).touch()
    return root


def test_names_that_are_not_utf8_are_read_and_shown_with_their_bytes(latin: Path) -> None:
    data = ImageFolder(size=8).load(latin)
    assert data.classes == (r"cat\xff", "dog")
    assert data.title.startswith(r"pets\xff (8x8")
    assert data.notes == (r"Not read: 1 file in other formats, such as dog/a\xff.gif.",)
    where = ["imagefolder", "--data-dir", str(latin)]
    for words in (["data", "status"], ["datasets"], ["data", "prepare"]):
        result = lbench(*words, *where)
        assert result.code == 0, result.err
        (result.out + result.err).encode()
        assert r"\xff" in result.out


def test_an_error_shows_a_name_that_is_not_utf8(latin: Path) -> None:
    (latin / "dog" / os.fsdecode(b"0\xff.png")).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"dog/0\\xff.png cannot be decoded") as caught:
        ImageFolder().load(latin)
    caught.value.message.encode()
    result = lbench("data", "prepare", "imagefolder", "--data-dir", str(latin), "--json")
    assert result.code == 3
    assert r"0\xff.png" in result.json[0]["message"]


def test_printable_text_does_not_change() -> None:
    assert printable("naïve ☃ \\xff") == "naïve ☃ \\xff"


def test_the_held_out_images_depend_on_their_names_in_utf8(
    tmp_path: Path, write_image: WriteImage
) -> None:
    names = [f"{label}/{i} ☕.png" for label in ("café", "tea") for i in range(5)]
    for name in names:
        write_image(tmp_path / name, (4, 4, 3))
    test = {file.path.relative_to(tmp_path).as_posix() for file, _ in split_of(tmp_path)["test"]}
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    assert test == {
        next(name for name in ranked if name.startswith(label)) for label in ("café", "tea")
    }


def split_of(root: Path) -> Rows:
    return hold_out(ImageFolder().find(root))


class TooLarge(Source):
    name = "too-large"
    title = "Too large"

    def look(self, directory: Path) -> Location | None:
        return Location.of(directory, "made", [])

    def read(self, location: Location) -> Raw:
        raise AssertionError(np.empty((1 << 50, 3, 8, 8), dtype=np.uint8))


def test_data_larger_than_the_memory_is_an_error_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not fit into memory when decoded: .*PiB"):
        TooLarge().load(tmp_path)


@pytest.mark.parametrize("dataset", ["mnist", "imagefolder", "split-mnist"])
def test_the_error_for_an_unknown_users_home_names_the_option_or_variable(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_dir: Path
) -> None:
    words = ["data", "prepare", dataset, "--no-download"]
    result = lbench(*words, "--data-dir", "~no-such-user/data")
    assert (result.code, "of --data-dir begins with the home" in result.err) == (2, True)
    if dataset != "imagefolder":
        monkeypatch.setenv("LBENCH_CACHE", "~no-such-user/cache")
        result = lbench(*words, "--data-dir", str(mnist_dir))
        assert (result.code, "LBENCH_CACHE" in result.err) == (2, True)
    monkeypatch.setenv("LBENCH_DATA", "~no-such-user/data")
    result = lbench(*words)
    assert (result.code, "of LBENCH_DATA begins with the home" in result.err) == (2, True)
