"""Streamed examples are those of a decoded dataset, addressed in the same way."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lbench.data import image_source
from lbench.data.augment import Augmentation
from lbench.data.dataset import Dataset
from lbench.data.imagefolder import ImageFolder
from lbench.data.images import decode
from lbench.data.loader import Batches, DeviceData
from lbench.data.loader_pool import loader_pool
from lbench.data.parts import parts, unseen
from lbench.data.stream import StreamedBatches, StreamedData, batches_of, examples_of
from lbench.errors import DataError, LbenchError, UsageError
from lbench.randomness import Randomness
from tests import forked
from tests.data.streaming import write_folder, write_photograph

SIZE = 16
BATCH = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pets"))


def load(folder: Path, stream: str = "yes", **options: object) -> Dataset:
    return ImageFolder(size=SIZE, stream=stream, **options).load(folder)


def streamed(folder: Path, workers: int = 1) -> StreamedData:
    data = load(folder)
    examples = examples_of(data.train, np.arange(len(data.train)), workers=workers)
    assert isinstance(examples, StreamedData)
    return examples


def batches(data: DeviceData, augment: str = "", seed: int = 0) -> Batches:
    return batches_of(data, BATCH, Randomness(seed).generator, Augmentation.parse(augment))


def ended(pid: int) -> bool:
    """Return whether a process has ended; a zombie has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_streamed_examples_are_those_of_the_decoded_dataset(folder: Path) -> None:
    data, decoded = load(folder), load(folder, "no")
    assert (data.shape, data.classes) == (decoded.shape, decoded.classes)
    for examples, whole in (
        (parts(data, 0.25, standardize=False, workers=1), parts(decoded, 0.25, standardize=False)),
        (
            parts(data, 0.0, 0.5, standardize=False, workers=1),
            parts(decoded, 0, 0.5, standardize=False),
        ),
    ):
        assert len(examples.training) == len(whole.training)
    test, whole_test = (unseen(d, standardize=False, workers=1) for d in (data, decoded))
    for (x, y), (z, labels) in zip(test.walk(4), whole_test.walk(4), strict=True):
        assert torch.equal(y, labels)
        assert (x - z).abs().max() * 255 <= 1.01
    idx = torch.tensor([4, 0, 4])
    assert torch.equal(test.batch(idx)[0], torch.cat([x for x, _ in test.walk(2)])[idx])
    assert torch.equal(test.labels, whole_test.labels)


def test_moments_and_digest_do_not_depend_on_the_directory_or_the_times(
    folder: Path, tmp_path: Path
) -> None:
    data, decoded = load(folder), load(folder, "no")
    assert np.allclose([*data.mean, *data.std], [*decoded.mean, *decoded.std], atol=0.002)
    shutil.copytree(folder, tmp_path / "copy" / folder.name)
    copied = load(tmp_path / "copy" / folder.name)
    assert copied.digest == data.digest != decoded.digest
    assert load(folder, resize=20).digest != data.digest
    assert load(folder, permute=1).digest != data.digest
    write_photograph(tmp_path / "copy" / folder.name / "train" / "cat" / "00.jpg", seed=77)
    assert load(tmp_path / "copy" / folder.name).digest != data.digest


def test_the_decoded_size_alone_decides_what_is_streamed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_source, "RESIDENT", 30 * 3 * SIZE**2)
    assert "streamed" not in load(folder, "auto").variant
    monkeypatch.setattr(image_source, "RESIDENT", 30 * 3 * SIZE**2 - 1)
    data = load(folder, "auto")
    assert data.variant == "folder, streamed"
    assert data.title.endswith("(16x16), streamed")
    assert data.digest == load(folder, "yes").digest
    assert "would take 0.023 MB" in data.notes[-1]


def test_how_data_is_loaded_is_no_part_of_a_fingerprint(folder: Path) -> None:
    assert ImageFolder(size=8, stream="yes", skip_bad=True).options() == {"size": 8}
    assert ImageFolder(size=8, resize=9).options() == {"size": 8, "resize": 9}
    with pytest.raises(UsageError, match=r"resize must be at least size \(32\), but got 16"):
        ImageFolder(resize=16)
    with pytest.raises(UsageError, match="auto, yes or no"):
        ImageFolder(stream="maybe")


def test_nothing_is_decoded_again_when_a_dataset_is_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder)
    monkeypatch.setattr(image_source, "examine", None)
    assert load(folder).digest == first.digest


@pytest.mark.parametrize("augment", ["", "resizedcrop,flip", "crop2,jitter"])
def test_a_batch_is_the_same_when_produced_directly(folder: Path, augment: str) -> None:
    walking, direct = batches(streamed(folder), augment), batches(streamed(folder), augment)
    everything = [batch for epoch in range(2) for batch in walking.epoch(epoch)]
    assert len(everything) == 2 * len(walking) == 10
    for epoch, position in ((1, 2), (0, 4), (1, 0)):
        images, labels = direct.batch(epoch, position)
        expected = everything[epoch * len(walking) + position]
        assert torch.equal(images, expected[0])
        assert torch.equal(labels, expected[1])
    with pytest.raises(IndexError):
        direct.batch(0, 5)


def test_the_number_of_loader_processes_changes_no_pixel(folder: Path) -> None:
    one = batches(streamed(folder, 1), "resizedcrop").batch(0, 1)
    two = batches(streamed(folder, 2), "resizedcrop").batch(0, 1)
    assert torch.equal(one[0], two[0])


def test_order_and_flips_are_those_of_examples_in_memory(folder: Path) -> None:
    decoded = load(folder, "no")
    resident = batches(examples_of(decoded.train, np.arange(24)), "crop2,flip")
    for (x, y), (z, labels) in zip(
        batches(streamed(folder), "crop2,flip").epoch(3), resident.epoch(3), strict=True
    ):
        assert torch.equal(y, labels)
        assert (x - z).abs().max() * 255 <= 1.01


def test_permuted_pixels_are_those_of_examples_in_memory(folder: Path) -> None:
    test, resident = (
        unseen(load(folder, stream, permute=3), standardize=True, workers=1)
        for stream in ("yes", "no")
    )
    assert (test.batch(torch.arange(6))[0] - resident.batch(torch.arange(6))[0]).abs().max() < 0.1
    split = load(folder, permute=3).train
    assert np.array_equal(
        split.pixels(np.array([1, 2])), load(folder, permute=3).train.pixels()[[1, 2]]
    )


def ids(batches: Batches, start: int, stop: int) -> Iterator[list[int]]:
    """Yield the ids of the images of each batch, by its number in the run."""
    assert isinstance(batches, StreamedBatches)
    for step in range(start, stop):
        pending = batches.take(*divmod(step, len(batches)))
        batches.data.collect(pending)
        yield pending.rows.tolist()


def test_a_stream_resumed_anywhere_repeats_and_skips_no_image(folder: Path) -> None:
    steps = 20
    uninterrupted = list(ids(batches(streamed(folder), "resizedcrop"), 0, steps))
    for epoch in range(4):
        assert sorted(itertools.chain(*uninterrupted[5 * epoch : 5 * epoch + 5])) == list(range(24))
    resumed, position = [], 0
    for stop in (3, 4, 9, 14, 17, steps):
        resumed += ids(batches(streamed(folder), "resizedcrop"), position, stop)
        position = stop
    assert resumed == uninterrupted
    assert list(ids(batches(streamed(folder), seed=1), 0, 5)) != uninterrupted[:5]


def test_images_are_requested_ahead_and_never_all_at_once(folder: Path) -> None:
    data = streamed(folder)
    walking = batches(data)
    depth = data.depth(BATCH)
    requested: list[int] = []
    request = data.request
    data.request = lambda idx, *rest: requested.append(len(idx)) or request(idx, *rest)  # type: ignore[method-assign,func-returns-value]
    walking.batch(0, 0)
    assert len(requested) == depth + 1
    for position in range(1, 5):
        walking.batch(0, position)
    assert len(requested) == depth + 5
    assert len(data._free) <= depth + 1
    assert data.images.numel() == 0


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a folder with a truncated photograph and a text that is called .jpg."""
    folder = write_folder(tmp_path / "pets")
    path = folder / "train" / "cat" / "03.jpg"
    path.write_bytes(path.read_bytes()[:500])
    (folder / "test" / "dog" / "01.jpg").write_text("no image")
    return folder


def test_a_damaged_image_stops_with_its_path(damaged: Path) -> None:
    with pytest.raises(DataError, match=r"train/cat/03\.jpg cannot be decoded"):
        load(damaged)
    shutil.copy(damaged / "train" / "cat" / "04.jpg", damaged / "train" / "cat" / "03.jpg")
    data = load(damaged)
    test = unseen(data, standardize=True, workers=1)
    with pytest.raises(DataError, match=r"test/dog/01\.jpg cannot be decoded: no image format"):
        list(test.walk(2))
    walking = batches(streamed(damaged))
    walking.batch(0, 0)
    (damaged / "train" / "dog" / "11.jpg").unlink()
    with pytest.raises(DataError, match=r"train/dog/11\.jpg cannot be read: No such file"):
        list(walking.epoch(1))


@pytest.mark.parametrize("stream", ["yes", "no"])
def test_damaged_images_are_skipped_on_request_and_counted(damaged: Path, stream: str) -> None:
    data = load(damaged, stream, skip_bad=True)
    assert (len(data.train), len(data.test)) == (23, 5)
    assert "Skipped: 2 images that cannot be decoded, such as test/dog/01.jpg." in data.notes
    for name in ("train/cat/03.jpg", "test/dog/01.jpg"):
        (damaged / name).unlink()
    assert load(damaged, stream).digest == data.digest
    assert load(damaged, stream, skip_bad=True).digest == data.digest


def test_images_in_memory_are_decoded_once_when_damaged_ones_are_skipped(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def counted(data: bytes, name: str, *size: Any) -> Any:
        names.append(name)
        return decode(data, name, *size)

    monkeypatch.setattr("lbench.data.image_files.decode", counted)
    load(damaged, "no", skip_bad=True)
    assert len(names) == len(set(names)) == 30


@pytest.mark.parametrize("skip_bad", [False, True])
def test_an_image_that_vanishes_is_named_and_no_cache_blamed(
    folder: Path, tmp_path: Path, skip_bad: bool
) -> None:
    folder = shutil.copytree(folder, tmp_path / folder.name)
    source = ImageFolder(size=8, stream="yes", skip_bad=skip_bad)
    location = source.find(folder)
    vanished = folder / "train" / "cat" / "03.jpg"
    content = vanished.read_bytes()
    vanished.unlink()
    with pytest.raises(DataError, match=r"train/cat/03\.jpg cannot be read: No such file"):
        source.open(location)
    vanished.write_bytes(content)
    data = source.open(location)
    vanished.unlink()
    with pytest.raises(DataError, match=r"train/cat/03\.jpg cannot be read: No such file"):
        data.train.pixels()


def test_without_the_request_skipped_images_still_stop(damaged: Path) -> None:
    load(damaged, "no", skip_bad=True)
    with pytest.raises(DataError, match="cannot be decoded"):
        load(damaged, "no")


def test_a_loader_process_that_dies_is_replaced_once(folder: Path) -> None:
    data = streamed(folder)
    before = data.batch(torch.arange(5))[0]
    for process in multiprocessing.active_children():
        process.kill()
    pending = data.request(torch.arange(5))
    assert torch.equal(data.collect(pending)[0], before)


def test_loader_processes_that_die_again_end_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = loader_pool(1)
    give = pool._give

    def deadly(chunk: object) -> object:
        future = give(chunk)  # type: ignore[arg-type]
        while not (processes := multiprocessing.active_children()):
            time.sleep(0.01)
        for process in processes:
            process.kill()
        return future

    monkeypatch.setattr(pool, "_give", deadly)
    with pytest.raises(LbenchError, match="were ended from outside twice") as caught:
        streamed(folder).batch(torch.arange(24))
    assert "--loader-workers" in caught.value.hint


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def walk_for_ever() -> None:
    folder = Path(os.environ["FOLDER"])
    walking = batches(streamed(folder, 2))
    for epoch in range(10**6):
        for _ in walking.epoch(epoch):
            pids = " ".join(str(process.pid) for process in multiprocessing.active_children())
            (folder / "pids").write_text(pids)


def test_loader_processes_end_with_their_parent(folder: Path) -> None:
    record = folder / "pids"
    record.unlink(missing_ok=True)
    environment = {**os.environ, "FOLDER": str(folder)}
    with forked.Command(env=environment, does=walk_for_ever) as command:
        wait_for(lambda: record.exists() and len(record.read_text().split()) == 2)
        pids = [int(pid) for pid in record.read_text().split()]
        assert not any(map(ended, pids))
        command.kill()
        wait_for(lambda: all(map(ended, pids)))
