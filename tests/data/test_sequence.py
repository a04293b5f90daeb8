"""Sequences have the documented tasks, in order, without copies of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lbench.config import DatasetConfig, param
from lbench.data.dataset import Dataset, Location, Raw, Split
from lbench.data.digits import Digits
from lbench.data.file_split import FileSplit
from lbench.data.loader import Batches
from lbench.data.mnist import Mnist
from lbench.data.parts import SequenceData, held_out, parts, unseen
from lbench.data.permutation import permutation
from lbench.data.source import Source
from lbench.data.status import status
from lbench.errors import DataError, UsageError
from lbench.hooks import DatasetEntry
from lbench.randomness import Randomness
from lbench.registry import Registry, registry
from tests.data.published import DATASETS
from tests.training.helper import ask

PermutedDigits, SplitDigits, PermutedMnist, SplitMnist = (
    registry().load("datasets", name)
    for name in ("permuted-digits", "split-digits", "permuted-mnist", "split-mnist")
)


def whole(data: Dataset) -> SequenceData:
    training = parts(data, 0, standardize=False).training
    assert isinstance(training, SequenceData)
    return training


def test_every_permuted_task_has_all_examples_in_an_order_of_its_own() -> None:
    plain, data = Digits().load(), whole(PermutedDigits(tasks=3).load())
    n = len(plain.train)
    assert [len(segment) for segment in data.segments] == [n, n, n]
    for task, segment in enumerate(data.segments):
        images, labels = data.batch(torch.arange(segment.start, segment.stop))
        order = permutation(f"0 task {task}", (1, 8, 8))
        expected = plain.train.images.reshape(n, 64)[:, order] / 255
        np.testing.assert_allclose(images.reshape(n, 64).numpy(), expected, rtol=1e-6)
        assert labels.tolist() == plain.train.labels.tolist()


def test_examples_of_several_tasks_in_one_batch_get_their_own_order() -> None:
    data = whole(PermutedDigits(tasks=3).load())
    n = len(data.segments[0])
    mixed = data.pixels(torch.tensor([5, n + 5, 2 * n + 5]))
    alone = [data.pixels(torch.tensor([task * n + 5])) for task in range(3)]
    assert torch.equal(mixed, torch.cat(alone))
    assert not torch.equal(mixed[0], mixed[1])


def test_images_are_stored_once_for_any_number_of_tasks() -> None:
    sources = [PermutedDigits(tasks=t).load() for t in (1, 20)]
    few, many = (parts(data, 0.1, standardize=False) for data in sources)
    tests = [unseen(data, standardize=False) for data in sources]
    for one, other in (
        (few.training, many.training),
        (few.validation, many.validation),
        tests,
    ):
        assert one is not None
        assert other is not None
        assert one.images.shape == other.images.shape
        assert len(other) == 20 * len(one)


@pytest.mark.parametrize(
    ("source", "counts"),
    [(Digits(), (1438, 359)), (SplitDigits(), (1438, 359)), (PermutedDigits(), (7190, 1795))],
)
def test_examples_are_counted_in_every_task_that_has_them(
    source: Source, counts: tuple[int, int]
) -> None:
    assert source.load().examples == counts


def test_a_task_is_the_same_for_any_number_of_tasks() -> None:
    two, five = (whole(PermutedDigits(tasks=t).load()) for t in (2, 5))
    idx = torch.arange(1500, 1510)
    assert torch.equal(two.pixels(idx), five.pixels(idx))


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_split_tasks_have_two_classes_each(scenario: str) -> None:
    plain, sequence = Digits().load(), SplitDigits(scenario=scenario).load()
    assert sequence.num_classes == (2 if scenario == "domain" else 10)
    training = parts(sequence, 0, standardize=False).training
    test = unseen(sequence, standardize=False)
    for examples, split in ((training, plain.train), (test, plain.test)):
        for task, segment in enumerate(examples.segments):
            rows = np.flatnonzero(split.labels // 2 == task)
            pixels = examples.pixels(torch.arange(segment.start, segment.stop))
            np.testing.assert_array_equal(pixels.numpy(), split.images[rows])
            expected = split.labels[rows] - (2 * task if scenario == "domain" else 0)
            assert examples.labels[segment.start : segment.stop].tolist() == expected.tolist()


def test_fewer_tasks_have_fewer_classes() -> None:
    data = SplitDigits(tasks=2, scenario="class").load()
    assert data.classes == ("0", "1", "2", "3")
    assert set(data.train.labels.tolist()) == {0, 1, 2, 3}
    assert sum(len(segment.train) for segment in data.segments) == len(data.train)


@pytest.mark.parametrize("source", [PermutedDigits(), SplitDigits(), SplitDigits(scenario="class")])
def test_a_tenth_of_each_class_of_each_task_is_held_out(source: Source) -> None:
    data = source.load()
    split = parts(data, 0.1, standardize=False)
    assert split.validation is not None
    for task, segment in enumerate(data.segments):
        train, validation = (
            part.labels[part.segments[task].start : part.segments[task].stop].bincount()
            for part in (split.training, split.validation)
        )
        labels = np.bincount(data.train.labels[segment.train])
        assert (train + validation).tolist() == labels.tolist()
        assert validation.tolist() == [round(0.1 * n) for n in labels]


def test_an_image_that_one_task_holds_out_is_trained_on_in_no_task() -> None:
    split = parts(PermutedDigits().load(), 0.1, standardize=False)
    assert split.validation is not None
    trained = {image.numpy().tobytes() for image in split.training.images}
    assert not trained & {image.numpy().tobytes() for image in split.validation.images}


def test_a_share_of_the_labels_is_taken_of_each_task() -> None:
    training = parts(SplitDigits().load(), 0.1, 0.1, standardize=False).training
    assert [len(segment) for segment in training.segments] == [26, 26, 26, 26, 25]


def test_probes_hold_out_of_all_training_examples_as_strict_would() -> None:
    data = PermutedDigits(tasks=2).load()
    both = held_out(whole(data), 0.1, data.digest)
    strict = parts(data, 0.1, standardize=False)
    assert strict.validation is not None
    for idx, part in zip(both, (strict.training, strict.validation), strict=True):
        assert torch.equal(whole(data).pixels(idx), part.pixels(torch.arange(len(idx))))


def test_an_epoch_has_the_examples_of_one_task_shuffled() -> None:
    data = whole(SplitDigits().load())
    batches = Batches(data, 32, Randomness(0).generator, epochs=2)
    for epoch in range(10):
        segment = data.segments[epoch // 2]
        count = -(-len(segment) // 32)
        walked = torch.cat([batches.indices(epoch, position) for position in range(count)])
        assert sorted(walked.tolist()) == list(segment)
        assert walked.tolist() != list(segment)
        with pytest.raises(IndexError):
            batches.indices(epoch, count)
    assert batches.order(2).tolist() != batches.order(3).tolist()
    assert sum(1 for _ in batches.epoch(0)) == -(-len(data.segments[0]) // 32)


def test_a_batch_is_addressed_by_seed_epoch_and_position() -> None:
    data = whole(PermutedDigits().load())
    direct = Batches(data, 32, Randomness(0).generator).batch(3, 2)
    walking = Batches(data, 32, Randomness(0).generator)
    *_, last = [batch for _, batch in zip(range(3), walking.epoch(3), strict=False)]
    assert torch.equal(direct[0], last[0])
    other = Batches(data, 32, Randomness(1).generator).batch(3, 2)
    assert not torch.equal(direct[0], other[0])


def test_a_sequence_uses_the_files_and_the_cache_of_its_base_dataset(
    mnist_dir: Path, own_caches: Path
) -> None:
    assert status(PermutedMnist(), mnist_dir)["state"] == "found"
    digest = Mnist().load(mnist_dir).digest
    permuted, split = PermutedMnist().load(mnist_dir), SplitMnist().load(mnist_dir)
    assert len(list(own_caches.glob("*.bin"))) == 1
    assert Mnist().load(mnist_dir).name == "mnist"
    assert (permuted.name, split.name) == ("permuted-mnist", "split-mnist")
    assert len({digest, permuted.digest, split.digest}) == 3
    ready = status(SplitMnist(), mnist_dir)
    assert (ready["state"], ready["digest"], ready["title"]) == ("ready", split.digest, split.title)


def test_title_and_variant_of_a_sequence_name_its_options() -> None:
    permuted, split = PermutedDigits(seed=3).load(), SplitDigits(tasks=2, permute=1).load()
    assert permuted.title == "Permuted Digits (8x8), 5 tasks"
    assert permuted.variant == "embedded, 5 permutations of seed 3"
    assert split.title == "Split Digits (8x8), pixels permuted (1), 2 tasks, domain-incremental"


def test_every_option_makes_another_digest_and_another_fingerprint() -> None:
    options: list[tuple[str, dict[str, object]]] = [
        ("permuted-digits", {}),
        ("permuted-digits", {"tasks": 3}),
        ("permuted-digits", {"seed": 1}),
        ("permuted-digits", {"permute": 1}),
        ("split-digits", {}),
        ("split-digits", {"tasks": "3"}),
        ("split-digits", {"scenario": "class"}),
        ("split-digits", {"permute": 1}),
    ]
    cells = [ask(dataset=name, data_options=chosen).cell for name, chosen in options]
    assert len({cell.data["digest"] for cell in cells}) == len(options)
    assert len({cell.fingerprint for cell in cells}) == len(options)
    assert ask(dataset="split-digits", data_options={"tasks": "5"}).cell.id == cells[4].id


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (SplitDigits, {"tasks": 6}, "tasks of dataset split-digits .* from 1 to 5, but got 6"),
        (SplitDigits, {"tasks": 4, "per_task": 3}, "tasks .* from 1 to 3, but got 4"),
        (SplitDigits, {"per_task": 11}, "per_task .* from 2 to 10, but got 11"),
        (SplitDigits, {"per_task": 1}, "per_task .* of at least 2, but got 1"),
        (SplitDigits, {"tasks": 0}, "of at least 1, but got 0"),
        (PermutedDigits, {"tasks": "many"}, "from 1 to 100, but got 'many'"),
        (PermutedDigits, {"seed": -1}, "seed of dataset permuted-digits .* at least 0, but got -1"),
        (SplitMnist, {"scenario": "task"}, "must be domain or class, but got 'task'"),
    ],
)
def test_a_wrong_option_is_refused(
    source: type[Source], options: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        source(**options).load()


def test_an_unknown_option_suggests_the_nearest_of_the_sequence() -> None:
    with pytest.raises(UsageError, match="option of dataset permuted-digits 'task'") as caught:
        PermutedDigits(task=3)
    assert "Did you mean tasks?" in caught.value.hint


def test_a_budget_in_examples_is_refused() -> None:
    with pytest.raises(UsageError, match="budget is in epochs per task"):
        ask(dataset="split-digits", examples=100)


def test_the_recipe_is_plain_sgd_at_a_constant_rate() -> None:
    recipe = ask(dataset="split-digits").cell.recipe
    assert (recipe.optimizer, recipe.momentum, recipe.schedule) == ("sgd", 0, "constant")


DIGESTS = {
    ("permuted-digits", ()): "6d0a46081139d31d3d3a415852e1757c",
    ("permuted-digits", (("tasks", 3), ("seed", 1))): "4738ddc15510c35886175e67bd07e1d5",
    ("split-digits", ()): "20c16124bb8a713bbd01f5b01e8504c3",
    ("split-digits", (("scenario", "class"), ("tasks", 2))): "bb3bb2b77be05e29694c86a8133d4da2",
    ("split-digits", (("permute", 1),)): "2183412b09e034a4a898f286d64f2b37",
    ("permuted-mnist", ()): "1a827a894fc12544853e6d2db032d058",
    ("split-mnist", ()): "2a54909b785990b8210f4a02b42fd16f",
}
"""Digests of sequences that runs of earlier versions have in their fingerprints."""


@pytest.mark.parametrize(("name", "options"), DIGESTS)
def test_a_sequence_keeps_its_digest(
    name: str, options: tuple[tuple[str, object], ...], request: pytest.FixtureRequest
) -> None:
    real = request.getfixturevalue("real_data") if name.endswith("mnist") else None
    data = registry().load("datasets", name)(**dict(options)).load(real, download=False)
    assert data.digest[:32] == DIGESTS[name, options]


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("kind", ["permuted", "split"])
def test_every_published_dataset_is_a_sequence(tmp_path: Path, kind: str, name: str) -> None:
    published = DATASETS[name]
    source = registry().load("datasets", f"{kind}-{published.source.name}")(**published.options)
    plain = published.source(**published.options).load(published.written(tmp_path / "data"))
    # Files with many classes do not have all of the first ten.
    absent = set(range(10)) - (set(plain.train.labels) & set(plain.test.labels))
    if kind == "split" and absent:
        with pytest.raises(DataError, match=r"Task \d of .* in this copy"):
            source.load(tmp_path / "data")
        return
    data = source.load(tmp_path / "data")
    assert len(data.segments) == 5
    assert data.name == f"{kind}-{published.source.name}"
    assert data.title.startswith(f"{kind.capitalize()} {published.source.title}")
    assert data.num_classes == (2 if kind == "split" else published.classes)


def test_groups_may_have_any_number_of_classes() -> None:
    plain = Digits().load()
    data = SplitDigits(tasks=3, per_task=3).load()
    assert data.title == "Split Digits (8x8), 3 tasks of 3 classes, domain-incremental"
    assert data.classes == tuple(f"class {n} of the task" for n in (1, 2, 3))
    for task, segment in enumerate(data.segments):
        rows = np.flatnonzero(plain.train.labels // 3 == task)
        np.testing.assert_array_equal(data.train.images[segment.train], plain.train.images[rows])
        np.testing.assert_array_equal(
            data.train.labels[segment.train], plain.train.labels[rows] - 3 * task
        )
    assert SplitDigits(per_task=5, scenario="class").load().classes == plain.classes


class FourDigits(Digits):
    """Images of the first four digits."""

    name, title = "four", "Four"

    class Config(DatasetConfig):
        inverted: bool = param(False, help="Black and white are exchanged")

    def read(self, location: Location) -> Raw:
        raw = super().read(location)
        splits = [
            Split(part.images[part.labels < 4], part.labels[part.labels < 4])
            for part in (raw.train, raw.test)
        ]
        if self.config.model_dump().get("inverted"):
            splits = [Split(255 - part.images, part.labels) for part in splits]
        return Raw(self.title, "embedded", tuple("0123"), *splits)


@pytest.fixture
def known() -> Registry:
    """Return a registry with a dataset of a plugin."""
    own = DatasetEntry("four", "Four", f"{__name__}:FourDigits", "mlp")
    return Registry(
        datasets={"four": own},
        sequences=dict(registry().sequences),
        owners={("datasets", "four"): "mine", ("sequences", "split"): "lbench"},
    )


def test_a_plugins_dataset_is_a_sequence_with_its_own_options(known: Registry) -> None:
    four = known.load("datasets", "split-four")
    assert list(four.Config.model_fields) == [
        "permute",
        "inverted",
        "tasks",
        "scenario",
        "per_task",
    ]
    assert known.load("datasets", "split-four") is four
    assert known.owner("datasets", "split-four") == "mine"
    assert known.find("datasets", "permuted-four").title == "Permuted Four"
    data = four().load()
    assert data.title == "Split Four, 2 tasks, domain-incremental"
    inverted = four(inverted=True).load()
    assert (inverted.train.images == 255 - data.train.images).all()
    assert inverted.digest != data.digest
    with pytest.raises(UsageError, match=r"tasks of dataset split-four .* from 1 to 2"):
        four(tasks=5).load()


@pytest.mark.parametrize(
    "name", ["permuted-", "split-none", "split", "permuted-split-four", "four-split", "Split-four"]
)
def test_other_names_are_no_sequences(known: Registry, name: str) -> None:
    with pytest.raises(UsageError, match=f"Unknown dataset '{name}'"):
        known.find("datasets", name)


def test_a_misspelled_sequence_suggests_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        registry().find("datasets", "permuted-fashion_mnist")
    assert "permuted-fashion-mnist" in caught.value.hint


class Seeded(FourDigits):
    """A dataset with an option that sequences have too."""

    name = "seeded"

    class Config(DatasetConfig):
        seed: int = param(0, help="Seed")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a directory with class folders of real digits, six per class."""
    data = Digits().load()
    for digit in range(10):
        rows = np.flatnonzero(data.train.labels == digit)[:6]
        folder = tmp_path / "pictures" / str(digit)
        folder.mkdir(parents=True)
        for row in rows:
            Image.fromarray(data.train.images[row, 0]).save(folder / f"{row}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("options", [{}, {"scenario": "class", "tasks": 3}])
def test_streamed_images_are_a_sequence_with_the_pixels_of_decoded_ones(
    pictures: Path, options: dict[str, object]
) -> None:
    split = registry().load("datasets", "split-imagefolder")
    kept, streamed = (
        split(size=8, stream=stream, **options).load(pictures) for stream in ("no", "yes")
    )
    assert isinstance(streamed.train, FileSplit)
    one, other = whole(kept), whole(streamed)
    every = torch.arange(len(one))
    assert torch.equal(one.pixels(every), other.pixels(every))
    assert one.labels.tolist() == other.labels.tolist()
    assert split(size=8, stream="yes").options() == split(size=8).options()


def test_a_sequence_that_does_not_fit_into_memory_is_refused(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbench.data.sequence.RESIDENT", 1000)
    source = registry().load("datasets", "permuted-imagefolder")(size=64, stream="yes")
    with pytest.raises(UsageError, match="images of a sequence are kept in memory") as caught:
        source.load(pictures)
    assert "--data size=32" in caught.value.hint
    kept = registry().load("datasets", "permuted-imagefolder")(size=64, stream="no")
    assert kept.load(pictures).segments


def test_an_option_that_both_have_is_refused() -> None:
    kind = registry().load("sequences", "permuted")
    with pytest.raises(UsageError, match="seeded cannot be permuted-seeded: seed is an option of"):
        kind.over(Seeded, "permuted-seeded", "Permuted Four")
    assert registry().load("sequences", "split").over(Seeded, "split-seeded", "x")().load().segments


def test_epochs_per_task_depend_on_the_published_size() -> None:
    epochs = {
        name: registry().load("datasets", f"split-{name}").epochs
        for name in ("digits", "mnist", "svhn", "stl10", "imagefolder")
    }
    assert epochs == {"digits": 10, "mnist": 1, "svhn": 1, "stl10": 10, "imagefolder": 10}
