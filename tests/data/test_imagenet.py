"""ImageNet and its subsets are read in each layout, and a part of it is never taken for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data import ilsvrc
from lbench.data.imagenet import Imagenet, Imagenet1Pct, Imagenet100
from lbench.data.source import MissingDataError, Source
from lbench.data.tiny_imagenet import TinyImagenet
from lbench.errors import DataError

WriteImage = Callable[..., npt.NDArray[np.uint8]]
FISH, SNAKE, BIRD = "n01440764", "n01749939", "n02009229"
"""Three classes of ImageNet, sorted; the last two are classes of ImageNet-100."""
TRAINING = {FISH: ("10040", "7"), SNAKE: ("12349", "7"), BIRD: ("10003", "1188", "7")}
"""Numbers of training images; those of several digits are in the 1 % subset."""


@pytest.fixture
def root(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return ``imagenet/`` in a data directory, with three classes in class folders."""
    root = tmp_path / "data" / "imagenet"
    for label, numbers in TRAINING.items():
        for number in numbers:
            write_image(root / "train" / label / f"{label}_{number}.JPEG", (40, 50, 3))
    for number, label in enumerate((BIRD, FISH, SNAKE, BIRD), 1):
        write_image(root / "val" / label / f"ILSVRC2012_val_0000000{number}.JPEG", (50, 40, 3))
    return root


def flat(root: Path) -> dict[str, str]:
    """Move the validation images into one folder, and return the class of each."""
    labels = {}
    for path in sorted((root / "val").glob("*/*")):
        labels[path.stem] = path.parent.name
        path.rename(root / "val" / path.name)
    for label in set(labels.values()):
        (root / "val" / label).rmdir()
    return labels


def solution(path: Path, labels: dict[str, str]) -> None:
    rows = [f"{name},{label} 85 1 499 272 {label} 1 1 9 9 " for name, label in labels.items()]
    path.write_text("\n".join(["ImageId,PredictionString", *rows]))


def published(root: Path) -> Path:
    """Move the splits to where the published archive has them, and return the folder ILSVRC."""
    inner = root / "ILSVRC" / "Data" / "CLS-LOC"
    inner.mkdir(parents=True)
    for name in ("train", "val"):
        (root / name).rename(inner / name)
    return root / "ILSVRC"


def labels_of(source: type[Source], root: Path) -> tuple[list[int], list[int]]:
    """Return the labels of the training and of the test images."""
    data = source(size=8).load(root.parent)
    assert data.shape == (3, 8, 8)
    return data.train.labels.tolist(), data.test.labels.tolist()


SORTED = ([0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 2])
AS_NUMBERED = ([0, 0, 1, 1, 2, 2, 2], [2, 0, 1, 2])


def test_class_folders_are_read(root: Path) -> None:
    assert labels_of(Imagenet, root) == SORTED
    data = Imagenet(size=8).load(root)
    assert data.classes == (FISH, SNAKE, BIRD)
    assert data.title == (
        "ImageNet (8x8, 3 of 1,000 classes, 7 of 1,281,167 training images, "
        "4 of 50,000 test images)"
    )
    assert Imagenet().options() == {"size": 224}


def test_the_kaggle_copy_is_read_with_its_solution(root: Path) -> None:
    labels = flat(root)
    solution(root / "LOC_val_solution.csv", labels)
    folder = published(root)
    assert labels_of(Imagenet, root) == AS_NUMBERED
    inner = Imagenet(size=8).load(folder)
    assert inner.digest == Imagenet(size=8).load(root).digest


def test_the_published_archive_is_read_with_its_annotations(root: Path) -> None:
    labels = flat(root)
    folder = published(root)
    boxes = folder / "Annotations" / "CLS-LOC" / "val"
    boxes.mkdir(parents=True)
    for name, label in labels.items():
        box = f"<object>\n\t<name>{label}</name>\n</object>\n"
        (boxes / f"{name}.xml").write_text(f"<annotation>\n{box * 2}</annotation>\n")
    assert labels_of(Imagenet, root) == AS_NUMBERED
    (boxes / "ILSVRC2012_val_00000003.xml").unlink()
    with pytest.raises(DataError, match=r"00003.JPEG has no line in .* and no annotation"):
        labels_of(Imagenet, root)


def test_a_flat_folder_of_validation_images_needs_labels(root: Path) -> None:
    flat(root)
    sets = published(root) / "ImageSets" / "CLS-LOC"
    sets.mkdir(parents=True)
    (sets / "val.txt").write_text("ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000002 2\n")
    with pytest.raises(DataError, match="val has images without labels") as caught:
        labels_of(Imagenet, root)
    assert "LOC_val_solution.csv" in caught.value.hint
    assert "it numbers the images" in caught.value.hint


def test_a_solution_with_other_columns_is_refused(root: Path) -> None:
    flat(root)
    (root / "LOC_val_solution.csv").write_text("image,label\na,b\n")
    with pytest.raises(DataError, match="no columns ImageId and PredictionString"):
        labels_of(Imagenet, root)


@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_validation_images_of_classes_without_training_images_are_named(
    root: Path, layout: str
) -> None:
    if layout == "flat":
        solution(root / "LOC_val_solution.csv", flat(root))
    (root / "train" / FISH).rename(root / "gone")
    data = Imagenet(size=8).load(root)
    assert data.classes == (SNAKE, BIRD)
    assert sorted(data.test.labels.tolist()) == [0, 1, 1]
    assert data.notes == (
        f"Not read: the validation images of 1 class without training images, {FISH}.",
    )


def test_a_class_without_validation_images_is_named(root: Path) -> None:
    (root / "val" / BIRD).rename(root / "gone")
    assert Imagenet(size=8).load(root).notes == (f"No test images of {BIRD}.",)


def test_streamed_images_have_the_labels_of_decoded_ones(root: Path) -> None:
    solution(root / "LOC_val_solution.csv", flat(root))
    data = Imagenet(size=8, stream="yes").load(root.parent)
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == AS_NUMBERED
    assert data.title.startswith("ImageNet (8x8, 3 of 1,000 classes, ")
    assert data.test.pixels().shape == (4, 3, 8, 8)


def test_an_empty_class_folder_is_refused(root: Path) -> None:
    for path in (root / "train" / SNAKE).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"without images that can be read: train/{SNAKE}"):
        Imagenet(size=8).load(root)


def test_imagenet_100_has_its_own_classes_alone(root: Path) -> None:
    for layout in ("folders", "flat"):
        if layout == "flat":
            solution(root / "LOC_val_solution.csv", flat(root))
        data = Imagenet100(size=8).load(root.parent)
        assert data.classes == (SNAKE, BIRD)
        assert data.title.startswith("ImageNet-100 (8x8, 2 of 100 classes, 5 of 126,689 ")
        assert sorted(data.test.labels.tolist()) == [0, 1, 1]
        assert data.notes == ()


def test_the_one_percent_is_picked_by_its_names(root: Path) -> None:
    data = Imagenet1Pct(size=8).load(root.parent)
    assert data.train.labels.tolist() == [0, 1, 2, 2]
    assert data.test.labels.tolist() == SORTED[1]
    assert data.title.startswith("ImageNet 1 % (8x8, 3 of 1,000 classes, 4 of 12,811 training ")
    whole = Imagenet(size=8).load(root)
    np.testing.assert_array_equal(data.train.images, whole.train.images[[0, 2, 4, 5]])


@pytest.mark.parametrize("source", [Imagenet, Imagenet100, Imagenet1Pct])
def test_one_copy_serves_every_subset(
    root: Path, source: type[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source().find(root).root == source().find(root.parent).root == root
    monkeypatch.setenv("LBENCH_DATA", str(root.parent))
    assert source().find().root == root
    monkeypatch.delenv("LBENCH_DATA")
    cache = Imagenet().download_dir
    cache.parent.mkdir(parents=True)
    root.rename(cache)
    assert source().find().root == cache


def test_a_copy_without_the_one_percent_is_refused(root: Path) -> None:
    for label, numbers in TRAINING.items():
        for number in numbers[:-1]:
            (root / "train" / label / f"{label}_{number}.JPEG").unlink()
    with pytest.raises(DataError, match="none of the 12,811 training images") as caught:
        Imagenet1Pct().find(root)
    assert "n01440764/n01440764_10040.JPEG" in caught.value.hint


def test_the_lists_are_those_that_were_published() -> None:
    names = ilsvrc.one_percent()
    assert len(names) == len(set(names)) == 12_811
    assert set(Counter(name.partition("_")[0] for name in names).values()) == {12, 13}
    assert len(ilsvrc.thousand_classes()) == 1000
    assert len(ilsvrc.hundred_classes()) == 100
    assert ilsvrc.hundred_classes() < ilsvrc.thousand_classes()
    assert all(ilsvrc.WNID.fullmatch(wnid) for wnid in ilsvrc.thousand_classes())


def test_training_images_alone_are_refused(root: Path) -> None:
    (root / "val").rename(root / "gone")
    with pytest.raises(DataError, match="no images in val/, which is the test set"):
        Imagenet().find(root)


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", f"{FISH}.tar", f"train/{FISH}.tar"])
def test_archives_of_imagenet_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=rf"{name} is not unpacked"):
        Imagenet().find(tmp_path)


def test_folders_that_are_no_classes_are_named(root: Path, write_image: WriteImage) -> None:
    for name in ("n99999999", "pets"):
        write_image(root / "train" / name / "0.png")
    data = Imagenet(size=8).load(root)
    assert data.classes == (FISH, SNAKE, BIRD)
    assert data.notes == (
        "Not read: 2 folders in train/ of no class of ILSVRC 2012, n99999999, pets.",
    )
    assert Imagenet100().find(root).notes == data.notes


def test_tiny_imagenet_and_imagenet_are_not_taken_for_each_other(
    root: Path, tmp_path: Path, write_image: WriteImage
) -> None:
    with pytest.raises(MissingDataError):
        TinyImagenet().find(root)
    tiny = tmp_path / "tiny"
    write_image(tiny / "train" / FISH / "images" / f"{FISH}_0.JPEG", (64, 64, 3))
    write_image(tiny / "val" / "images" / "val_0.JPEG", (64, 64, 3))
    (tiny / "val" / "val_annotations.txt").write_text(f"val_0.JPEG\t{FISH}\t0\t0\t1\t1")
    with pytest.raises(MissingDataError):
        Imagenet().find(tiny)
