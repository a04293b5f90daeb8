"""The cache of decoded data is used while the raw files stay the same, and only if complete."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data.dataset import Location, Raw
from lbench.data.imagefolder import ImageFolder
from lbench.data.mnist import Mnist
from lbench.errors import DataError

WriteImage = Callable[..., npt.NDArray[np.uint8]]
ROOT = Path(__file__).resolve().parents[2]


def cache_file(caches: Path) -> Path:
    (path,) = caches.glob("*.bin")
    return path


class NoDecoding(Mnist):
    def read(self, location: Location) -> Raw:
        raise AssertionError("decoded again")


class Counting(Mnist):
    decoded = 0

    def read(self, location: Location) -> Raw:
        type(self).decoded += 1
        return super().read(location)


def test_the_second_start_reads_the_cache_without_decoding(mnist_dir: Path) -> None:
    first = Mnist().load(mnist_dir)
    second = NoDecoding().load(mnist_dir)
    assert second.digest == first.digest
    assert (second.mean, second.std) == (first.mean, first.std)
    assert (second.title, second.variant, second.classes) == (
        first.title,
        first.variant,
        first.classes,
    )
    for a, b in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_one_directory_is_decoded_once_however_it_is_named(
    mnist_dir: Path, own_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Mnist().load(mnist_dir)
    for here, name in ((mnist_dir, "."), (mnist_dir.parent, "mnist"), (own_caches, "../data")):
        monkeypatch.chdir(here)
        NoDecoding().load(Path(name))
    NoDecoding().load(mnist_dir / ".." / "mnist")
    assert len(list(own_caches.glob("*.bin"))) == 1


def test_a_touched_raw_file_is_decoded_again(mnist_dir: Path) -> None:
    before = Mnist().load(mnist_dir)
    os.utime(mnist_dir / "train-labels-idx1-ubyte.gz", (1, 1))
    after = Counting().load(mnist_dir)
    assert Counting.decoded == 1
    assert after.digest == before.digest


def rename(a: Path, b: Path) -> None:
    third = a.with_name("third")
    a.rename(third)
    b.rename(a)
    third.rename(b)


def rewrite(a: Path, b: Path) -> None:
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


def copy_over(a: Path, b: Path) -> None:
    """Exchange content and times of two files, as ``cp -p`` and ``rsync -t`` copy them."""
    for path in (a, b):
        shutil.copy2(path, path.with_suffix(".old"))
    shutil.copy2(a.with_suffix(".old"), b)
    shutil.copy2(b.with_suffix(".old"), a)


@pytest.mark.skipif(os.name != "posix", reason="ctime is the time of creation")
@pytest.mark.parametrize("swap", [rename, rewrite, copy_over])
def test_images_of_equal_size_and_time_swapped_between_classes_are_decoded_again(
    tmp_path: Path, write_image: WriteImage, swap: Callable[[Path, Path], None]
) -> None:
    paths = [tmp_path / label / f"{i}.bmp" for label in ("cat", "dog") for i in range(3)]
    for path in paths:
        write_image(path, (8, 8, 3))
        os.utime(path, ns=(10**18, 10**18))
    before = ImageFolder(size=8).load(tmp_path)
    assert ImageFolder(size=8).load(tmp_path).digest == before.digest
    swap(tmp_path / "cat" / "0.bmp", tmp_path / "dog" / "0.bmp")
    for path in paths:
        assert path.stat().st_size == paths[0].stat().st_size
        os.utime(path, ns=(10**18, 10**18))
    assert ImageFolder(size=8).load(tmp_path).digest != before.digest


def test_an_archive_rewritten_at_equal_size_and_time_is_decoded_again(mnist_dir: Path) -> None:
    labels = mnist_dir / "t10k-labels-idx1-ubyte"
    labels.write_bytes(gzip.decompress(labels.with_suffix(".gz").read_bytes()))
    os.utime(labels, ns=(10**18, 10**18))
    before = Mnist().load(mnist_dir)
    data = bytearray(labels.read_bytes())
    data[-2:] = data[-1], data[-2]
    labels.write_bytes(data)
    os.utime(labels, ns=(10**18, 10**18))
    assert Mnist().load(mnist_dir).digest != before.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: b"X" + data[1:],
        lambda data: data[:16] + b"{" * 64 + data[80:],
    ],
)
def test_a_damaged_cache_is_rebuilt(
    mnist_dir: Path, own_caches: Path, damage: Callable[[bytes], bytes]
) -> None:
    before = Mnist().load(mnist_dir)
    pixels = np.array(before.train.images)
    path = cache_file(own_caches)
    content = damage(path.read_bytes())
    path.unlink()
    path.write_bytes(content)
    after = Mnist().load(mnist_dir)
    assert after.digest == before.digest
    np.testing.assert_array_equal(after.train.images, pixels)


def run(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


CRASH = """
import os, sys
os.fsync = lambda handle: os._exit(9)
from lbench.data.mnist import Mnist
Mnist().load(sys.argv[1])
"""


def test_a_crash_while_writing_leaves_no_cache_that_would_be_used(
    mnist_dir: Path, own_caches: Path
) -> None:
    process = run(CRASH, mnist_dir)
    process.communicate()
    assert process.returncode == 9
    assert [p for p in own_caches.iterdir() if p.suffix == ".bin"] == []
    assert [p for p in own_caches.iterdir() if p.suffix == ".tmp"] != []
    assert len(Mnist().load(mnist_dir).train) == 60
    assert sorted(p.suffix for p in own_caches.iterdir()) == [".bin", ".lock", ".lock"]


SLOW = """
import pathlib, sys, time
from lbench.data.mnist import Mnist
class Slow(Mnist):
    def read(self, location):
        with open(sys.argv[2], "a") as log:
            log.write("decoded\\n")
        time.sleep(0.5)
        return super().read(location)
print(Slow().load(sys.argv[1]).digest)
"""


def test_two_processes_at_once_decode_once(mnist_dir: Path, tmp_path: Path) -> None:
    processes = [run(SLOW, mnist_dir, tmp_path / "log") for _ in range(2)]
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert (tmp_path / "log").read_text() == "decoded\n"


CACHED = """
import sys
from lbench.data.mnist import Mnist
Mnist().load(sys.argv[1])
heavy = {"torch", "torchvision", "PIL", "sklearn", "filelock"}
print(sorted(heavy & set(sys.modules)))
"""


def test_opening_the_cache_imports_no_module_that_is_slow_to_import(mnist_dir: Path) -> None:
    Mnist().load(mnist_dir)
    output, errors = run(CACHED, mnist_dir).communicate()
    assert output == "[]\n", errors


def test_a_cache_that_cannot_be_written_names_the_variable(mnist_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written") as caught:
        Mnist().load(mnist_dir, cache_dir=tmp_path / "file" / "cache")
    assert "LBENCH_CACHE" in caught.value.hint
