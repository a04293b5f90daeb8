"""The decoded files together stay below a limit, and none that a process uses is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data import cache
from lbench.data.cache_files import CacheFile, cache_files, parse_limit, readable
from lbench.data.imagefolder import ImageFolder
from lbench.data.mnist import Mnist
from lbench.errors import DataError, UsageError
from tests.studies.helper import lbench

WriteImage = Callable[..., npt.NDArray[np.uint8]]
LIMIT = "LBENCH_CACHE_LIMIT"
POSIX = pytest.mark.skipif(os.name != "posix", reason="the system refuses to remove mapped files")


@pytest.fixture
def folder(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return class folders whose decoded file is larger than that of the small MNIST."""
    for label in ("cat", "dog"):
        for i in range(3):
            write_image(tmp_path / "pets" / label / f"{i}.png", (8, 8, 3))
    return tmp_path / "pets"


def prepared(folder: Path, size: int, used: int) -> Path:
    """Decode the folder at a size, and return the file, last used at the time ``used``."""
    source = ImageFolder(size=size)
    source.load(folder)
    path = source.cache_path(source.find(folder))
    os.utime(path, (used, used))
    return path


def sizes(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)


def test_the_files_used_longest_ago_are_removed_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, oldest, new = (prepared(folder, size, used) for size, used in ((8, 2), (9, 1), (10, 3)))
    capsys.readouterr()
    limit, size = sizes(old, oldest, new), readable(sizes(oldest))
    monkeypatch.setenv(LIMIT, f"{limit}B")
    latest = prepared(folder, 7, 4)
    assert [path.exists() for path in (oldest, old, new, latest)] == [False, True, True, True]
    error = capsys.readouterr().err
    assert f"removed the decoded imagefolder ({size}, last used 19" in error
    assert f"to keep the cache below {readable(limit)}" in error


def test_using_a_file_again_makes_it_the_newest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = prepared(folder, 8, 1), prepared(folder, 9, 2)
    ImageFolder(size=8).load(folder)
    monkeypatch.setenv(LIMIT, f"{sizes(first, second)}B")
    prepared(folder, 7, 3)
    assert (first.exists(), second.exists()) == (True, False)


def test_a_file_that_is_open_is_not_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared(folder, 8, 1)
    data = ImageFolder(size=8).load(folder)
    os.utime(path, (1, 1))
    monkeypatch.setenv(LIMIT, f"{sizes(path)}B")
    other = prepared(folder, 7, 2)
    assert path.exists()
    assert other.exists()
    assert "more than its limit of" in capsys.readouterr().err
    images = data.train.images
    del data  # part of the mapping is still in use
    assert not CacheFile(path, "imagefolder", 1, 0.0).remove()
    assert images.shape == (4, 3, 8, 8)
    del images
    assert CacheFile(path, "imagefolder", 1, 0.0).remove()


USER = """
import sys
from lbench.data.imagefolder import ImageFolder
data = ImageFolder(size=8).load(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that has the decoded folder open until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@POSIX
def test_clear_keeps_what_another_process_uses(
    other_process: subprocess.Popen[str], mnist_dir: Path, own_caches: Path
) -> None:
    Mnist().load(mnist_dir)
    result = lbench("data", "clear", "--yes")
    assert result.code == 1
    (kept,) = own_caches.glob("*.bin")
    assert kept.name.startswith("imagefolder-")
    assert "Removed 1 file: " in result.out
    assert f"imagefolder: {kept} stays, because a process uses it." in result.out
    other_process.kill()
    other_process.wait()
    assert lbench("data", "clear", "--yes").code == 0
    assert not kept.exists()


def test_data_larger_than_the_limit_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own_caches: Path
) -> None:
    kept = prepared(folder, 8, 1)
    monkeypatch.setenv(LIMIT, "30KB")
    with pytest.raises(DataError, match=r"takes 41.0 KB, more than the 30.0 KB") as caught:
        ImageFolder(size=32).load(folder)
    assert "--cache-limit" in caught.value.hint
    assert [path for path in own_caches.iterdir() if path.suffix == ".tmp"] == []
    assert kept.exists()


def test_what_a_killed_process_left_counts_and_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepared(folder, 8, 2)
    torn = path.with_name(f"imagefolder-{'0' * 20}.tmp")
    torn.write_bytes(bytes(sizes(path)))
    os.utime(torn, (1, 1))
    assert [file.path for file in cache_files(path.parent)] == [torn, path]
    monkeypatch.setenv(LIMIT, f"{2 * sizes(path)}B")
    prepared(folder, 7, 3)
    assert (torn.exists(), path.exists()) == (False, True)


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20 * 10**9), ("1.5 MB", 1_500_000), ("2GiB", 2**31), ("None", None)]
)
def test_limits_are_sizes_with_a_unit(text: str, size: int | None) -> None:
    assert parse_limit(text, "--cache-limit") == size


@pytest.mark.parametrize("text", ["20", "1.5", "", "GB", "-1GB", "much", "20 apples"])
def test_a_limit_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--cache-limit must be a size with its unit") as caught:
        parse_limit(text, "--cache-limit")
    assert "20GB" in caught.value.hint


def test_a_wrong_limit_is_refused_before_anything_is_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own_caches: Path
) -> None:
    monkeypatch.setenv(LIMIT, "20")
    with pytest.raises(UsageError, match=LIMIT):
        ImageFolder(size=8).load(folder)
    assert not own_caches.exists()


def test_the_option_sets_the_limit_of_the_command_alone(
    mnist_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "1GB")
    words = ["data", "prepare", "mnist", "--data-dir", str(mnist_dir)]
    refused = lbench(*words, "--cache-limit", "10KB")
    assert refused.code == 3
    assert "more than the 10.0 KB that the cache may have" in refused.err
    assert os.environ[LIMIT] == "1GB"
    assert lbench(*words).code == 0
    for command in ("run", "study", "tune"):
        assert "--cache-limit" in lbench(command, "--help").out


def test_clear_removes_one_dataset_or_all(mnist_dir: Path, folder: Path, own_caches: Path) -> None:
    Mnist().load(mnist_dir)
    path = prepared(folder, 8, 1)
    assert "2 decoded files, " in lbench("data", "status", "mnist").out
    refused = lbench("data", "clear")
    assert refused.code == 2
    assert "Give --yes" in refused.err
    (row,) = lbench("data", "clear", "mnist", "--yes", "--json").json
    assert (row["dataset"], row["removed"]) == ("mnist", True)
    assert [file.path for file in cache_files(own_caches)] == [path]
    assert lbench("data", "clear", "--yes").out.rstrip().endswith("are free.")
    assert cache_files(own_caches) == []
    assert lbench("data", "clear").out.startswith("There is no decoded data in ")
    wrong = lbench("data", "clear", "imagefoldr")
    assert (wrong.code, "Did you mean imagefolder?" in wrong.err) == (2, True)


def test_clear_removes_the_index_of_streamed_images(folder: Path, own_caches: Path) -> None:
    ImageFolder(size=8, stream="yes").load(folder)
    (row,) = lbench("data", "clear", "imagefolder", "--yes", "--json").json
    assert (Path(row["path"]).suffix, row["removed"]) == (".json", True)
    assert cache_files(own_caches) == []


def test_the_state_has_the_size_of_the_decoded_file(mnist_dir: Path) -> None:
    words = ["data", "status", "mnist", "--data-dir", str(mnist_dir), "--json"]
    assert lbench(*words).json[0]["cache_bytes"] is None
    Mnist().load(mnist_dir)
    (row,) = lbench(*words).json
    assert row["cache_bytes"] == Path(row["cache"]).stat().st_size
    assert cache.load(Path(row["cache"])) is not None
