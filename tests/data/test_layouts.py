"""Files of a folder of images are read, named in notes or refused, depending on the layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data.folders import DEEP
from lbench.data.imagefolder import ImageFolder
from lbench.data.source import MissingDataError
from lbench.data.status import status
from lbench.errors import DataError
from tests.studies.helper import lbench

WriteImage = Callable[..., npt.NDArray[np.uint8]]


@pytest.fixture
def images(write_image: WriteImage) -> Callable[..., Path]:
    """Return a function that writes numbered images of 8x8 into a folder, and returns it."""

    def write(folder: Path, number: int = 2, suffix: str = ".png") -> Path:
        for i in range(number):
            write_image(folder / f"{i}{suffix}", (8, 8, 3))
        return folder

    return write


@pytest.fixture
def pets(tmp_path: Path, images: Callable[..., Path]) -> Path:
    """Return a folder with two class folders of five images."""
    for label in ("cat", "dog"):
        images(tmp_path / "pets" / label, 5)
    return tmp_path / "pets"


def load(directory: Path) -> Any:
    return ImageFolder(size=8).load(directory)


def counts(directory: Path) -> dict[str, int]:
    """Return the number of images of each class in both splits."""
    data = load(directory)
    labels = np.concatenate([data.train.labels, data.test.labels])
    return dict(zip(data.classes, np.bincount(labels).tolist(), strict=True))


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test"),
        ("train", "val"),
        ("Train", "Test"),
        ("training", "validation"),
        ("train",),
    ],
)
def test_splits_without_class_folders_are_no_classes(
    tmp_path: Path, images: Callable[..., Path], names: tuple[str, ...]
) -> None:
    for name in names:
        images(tmp_path / "pets" / name, 3)
    with pytest.raises(
        DataError, match=f"splits without class folders: .*{names[0]}/ has only 3"
    ) as caught:
        load(tmp_path / "pets")
    assert f"{sorted(names)[0]}/<class>/" in caught.value.hint


def test_loose_images_beside_training_classes_do_not_make_train_a_class(
    tmp_path: Path, images: Callable[..., Path]
) -> None:
    images(tmp_path / "train", 3)
    for label in ("a", "b"):
        images(tmp_path / "train" / label)
    with pytest.raises(DataError, match="no images in test/<class>/") as caught:
        load(tmp_path)
    assert "3 files outside class folders" in caught.value.message


def test_a_class_may_be_called_train(tmp_path: Path, images: Callable[..., Path]) -> None:
    for label in ("train", "bus"):
        images(tmp_path / label, 3)
    images(tmp_path / "train" / "old", 2)
    assert counts(tmp_path) == {"bus": 3, "train": 3}
    assert any("2 files in folders inside" in note for note in load(tmp_path).notes)


def test_images_without_any_class_folder_are_refused(
    tmp_path: Path, images: Callable[..., Path]
) -> None:
    images(tmp_path / "flat", 3)
    with pytest.raises(MissingDataError, match="flat has 3 images but no class folders"):
        load(tmp_path / "flat")


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        (("persian/0.png", "siamese/0.png"), "only 2 folders (persian, siamese)"),
        (("0.gif", "1.gif"), "only 2 .gif files"),
        (("clips/0.gif",), "only 1 folder (clips)"),
        (("0.heic", "a.txt"), "only 1 .heic file and 1 text file"),
        ((".0.png",), "only 1 hidden file"),
        (("._0.png", ".DS_Store", "Thumbs.db"), "nothing"),
        ((), "nothing"),
    ],
)
@pytest.mark.parametrize("split", [False, True])
def test_a_class_without_images_that_can_be_read_is_refused(
    pets: Path, images: Callable[..., Path], inside: tuple[str, ...], what: str, split: bool
) -> None:
    root = pets / "train" if split else pets
    if split:
        root.mkdir()
        for name in ("cat", "dog"):
            (pets / name).rename(root / name)
            images(pets / "test" / name)
    (root / "fox").mkdir()
    for name in inside:
        path = root / "fox" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content")
    with pytest.raises(DataError) as caught:
        load(pets)
    where = "train/fox" if split else "fox"
    assert f"without images that can be read: {where} ({what})" in caught.value.message
    assert caught.value.exit_code == 3
    assert ".png" in caught.value.hint


def test_other_folders_beside_classes_are_named(pets: Path) -> None:
    (pets / "notes").mkdir()
    (pets / "notes" / "log.bin").touch()
    (pets / "labels").mkdir()
    (pets / "labels" / "0.txt").touch()
    assert counts(pets) == {"cat": 5, "dog": 5}
    assert load(pets).notes == (
        "Not classes, as they have no images: labels (only 1 text file), notes (only 1 .bin file).",
    )


@pytest.mark.parametrize("split", [False, True])
def test_images_too_deep_for_a_class_are_counted(
    pets: Path, images: Callable[..., Path], split: bool
) -> None:
    root = pets
    if split:
        (pets / "train").mkdir()
        for name in ("cat", "dog"):
            (pets / name).rename(pets / "train" / name)
            images(pets / "test" / name)
        root = pets / "train"
    images(root / "breeds" / "dogs" / "poodle", 3)
    images(root / "breeds" / "dogs" / "large" / "dane", 2, ".gif")
    images(root / "runs" / "reports" / "figures", 1)
    where = "train/breeds" if split else "breeds"
    assert load(pets).classes == ("cat", "dog")
    assert load(pets).notes == (
        f"Not read: 6 files {DEEP}, such as {where}/dogs/large/dane/0.gif.",
    )


def test_images_that_are_all_too_deep_are_refused_with_their_number(
    tmp_path: Path, images: Callable[..., Path]
) -> None:
    for label in ("cat", "dog"):
        images(tmp_path / "all" / "the" / "animals" / label, 4)
    with pytest.raises(DataError, match=r"8 images two or more .* the/animals/cat/0.png") as caught:
        load(tmp_path / "all")
    assert "--data-dir" in caught.value.hint
    with pytest.raises(DataError, match=r"animals \(only 2 folders \(cat, dog\)\)"):
        load(tmp_path / "all" / "the")


def test_run_directories_beside_the_classes_do_not_change_the_data(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pets)
    words = ["run", "--rule", "bp", "--network", "mlp", "--net", "widths=4", "--epochs", "1"]
    words += ["--dataset", "imagefolder", "--data-dir", ".", "--data", "size=8", "--json"]
    words += ["--no-store"]
    first, second = lbench(*words), lbench(*words, "--seeds", "2")
    assert (first.code, second.code) == (0, 0), second.err
    assert (pets / "lbench-runs").is_dir()
    assert second.json["runs"][0]["cached"]


def test_images_beside_a_folder_called_images_are_refused(
    pets: Path, images: Callable[..., Path]
) -> None:
    images(pets / "cat" / "images", 7)
    with pytest.raises(DataError, match=r"cat has 5 images of its own and 7 in images/") as caught:
        load(pets)
    assert "one of the two" in caught.value.hint


def test_a_class_called_images_keeps_its_name(pets: Path, images: Callable[..., Path]) -> None:
    images(pets / "images", 4)
    assert counts(pets) == {"cat": 5, "dog": 5, "images": 4}
    split = pets.parent / "split"
    for label in ("images", "cat"):
        images(split / "train" / label, 3)
        images(split / "test" / label, 1)
    assert counts(split) == {"cat": 4, "images": 4}


def test_class_folders_inside_one_folder_are_not_read_as_one_class(
    tmp_path: Path, images: Callable[..., Path]
) -> None:
    for label in ("cat", "dog"):
        images(tmp_path / "birds" / "images" / label)
    with pytest.raises(DataError, match=r"images \(only 2 folders \(cat, dog\)\)") as caught:
        load(tmp_path / "birds")
    assert "--data-dir" in caught.value.hint
    assert counts(tmp_path / "birds" / "images") == {"cat": 2, "dog": 2}


def test_files_that_are_not_read_are_counted_with_an_example(
    pets: Path, images: Callable[..., Path]
) -> None:
    images(pets, 3)
    images(pets / "cat" / "kittens", 4)
    for name in ("a.gif", "b.gif", ".hidden.png", "boxes.txt"):
        (pets / "dog" / name).write_bytes(b"content")
    assert counts(pets) == {"cat": 5, "dog": 5}
    assert sorted(load(pets).notes) == [
        "Not read: 1 file with a leading dot, such as dog/.hidden.png.",
        "Not read: 2 files in other formats, such as dog/a.gif.",
        "Not read: 3 files outside class folders, such as 0.png.",
        "Not read: 4 files in folders inside class folders, such as cat/kittens/0.png.",
    ]


@pytest.mark.parametrize(
    "name", ["._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".thumbnails/0.png", "notes.txt"]
)
def test_files_of_file_managers_are_ignored_without_a_note(pets: Path, name: str) -> None:
    before = load(pets)
    (pets / "cat" / name).parent.mkdir(exist_ok=True)
    (pets / "cat" / name).write_bytes(b"Mac OS X resource fork")
    (pets / "__MACOSX" / "cat").mkdir(parents=True)
    (pets / "__MACOSX" / "cat" / "._0.png").write_bytes(b"Mac OS X resource fork")
    after = load(pets)
    assert (after.digest, after.notes) == (before.digest, ())


def test_loops_of_links_end(pets: Path) -> None:
    before = load(pets).digest
    (pets / "cat" / "up").symlink_to("..")
    (pets / "dog" / "self").symlink_to("self")
    data = load(pets)
    assert data.digest == before
    assert "Not read: 1 file in folders inside class folders, such as cat/up." in data.notes
    (pets / "again").symlink_to(".")
    with pytest.raises(DataError, match="again"):
        load(pets)


def test_linked_classes_and_images_are_read(pets: Path, images: Callable[..., Path]) -> None:
    (pets / "fox").symlink_to(images(pets.parent / "elsewhere"))
    (pets / "cat" / "linked.png").symlink_to(pets.parent / "elsewhere" / "0.png")
    assert counts(pets) == {"cat": 6, "dog": 5, "fox": 2}


def test_a_folder_with_the_suffix_of_an_image_is_no_image(pets: Path) -> None:
    (pets / "cat" / "a.png").mkdir()
    assert counts(pets) == {"cat": 5, "dog": 5}


def test_a_second_test_set_is_named(tmp_path: Path, images: Callable[..., Path]) -> None:
    for split in ("train", "test", "val", "unlabelled"):
        for label in ("a", "b"):
            images(tmp_path / split / label, 2)
    images(tmp_path / "train", 1)
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (4, 4)
    assert sorted(data.notes) == [
        "Not read: 1 file outside class folders, such as train/0.png.",
        "Not read: 4 files in unlabelled/, such as unlabelled/a/0.png.",
        "Not read: 4 files in val/, as test/ is the test set, such as val/a/0.png.",
    ]


def test_a_class_without_test_images_is_named(tmp_path: Path, images: Callable[..., Path]) -> None:
    for label in ("a", "b"):
        images(tmp_path / "train" / label)
    images(tmp_path / "test" / "b")
    assert load(tmp_path).notes == ("No test images of a.",)


def tiny(root: Path, images: Callable[..., Path]) -> Path:
    """Write the layout of Tiny ImageNet as published, with two classes."""
    for label in ("n01", "n02"):
        images(root / "train" / label / "images", 3, ".JPEG")
        (root / "train" / label / f"{label}_boxes.txt").write_text("0.JPEG\t0\t0\t7\t7\n")
    images(root / "val" / "images", 2, ".JPEG")
    lines = ["0.JPEG\tn02\t0\t0\t7\t7", "1.JPEG\tn01\t0\t0\t7\t7"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    images(root / "test" / "images", 5, ".JPEG")
    for name in ("wnids.txt", "words.txt"):
        (root / name).write_text("n01\nn02\n")
    return root


def test_tiny_imagenet_is_read_as_published(tmp_path: Path, images: Callable[..., Path]) -> None:
    data = load(tiny(tmp_path, images))
    assert data.classes == ("n01", "n02")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, 0]
    assert data.notes == ("Not read: 5 files without labels in test/, such as test/images/0.JPEG.",)


def test_tiny_imagenet_with_sorted_validation_images_is_read(
    tmp_path: Path, images: Callable[..., Path]
) -> None:
    root = tiny(tmp_path, images)
    for name, label in (("0.JPEG", "n02"), ("1.JPEG", "n01")):
        (root / "val" / label).mkdir()
        (root / "val" / "images" / name).rename(root / "val" / label / name)
    (root / "val" / "images").rmdir()
    assert load(root).test.labels.tolist() == [0, 1]


def test_annotations_and_images_must_agree(tmp_path: Path, images: Callable[..., Path]) -> None:
    root = tiny(tmp_path, images)
    (root / "val" / "images" / "1.JPEG").unlink()
    assert "val_annotations.txt has 1 line for absent images." in load(root).notes
    images(root / "val" / "images", 3, ".JPEG")
    with pytest.raises(DataError, match=r"2.JPEG has no line in val_annotations"):
        load(root)


def test_a_test_folder_without_labels_is_no_test_set(
    tmp_path: Path, images: Callable[..., Path]
) -> None:
    for label in ("a", "b"):
        images(tmp_path / "train" / label)
    images(tmp_path / "test", 3)
    with pytest.raises(DataError, match="3 files without labels in test/") as caught:
        load(tmp_path)
    assert str(tmp_path / "train") in caught.value.hint


def test_the_first_frames_of_several_are_counted(pets: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("x.png", "y.tif"):
        frames[0].save(pets / "cat" / name, save_all=True, append_images=frames[1:])
    assert load(pets).notes == ("Only the first frame or page of 2 files is read.",)


def test_notes_follow_the_folder_while_the_cache_stays(pets: Path, own_caches: Path) -> None:
    assert load(pets).notes == ()
    (pets / "cat" / "new.gif").touch()
    assert len(load(pets).notes) == 1
    assert len(list(own_caches.glob("*.bin"))) == 1


def test_notes_are_shown_by_every_command_that_reads_the_data(pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "new.gif").touch()
    note = "Not read: 1 file in other formats, such as cat/new.gif."
    assert status(ImageFolder(size=8), pets)["notes"] == [note]
    where = ["--data-dir", str(pets)]
    for words in (["data", "status"], ["data", "prepare"], ["data", "status"], ["datasets"]):
        text = lbench(*words, "imagefolder", *where)
        assert text.out.count(note) == 1, words
        content = lbench(*words, "imagefolder", *where, "--json").json
        content = content if isinstance(content, dict) else content[0]
        assert content["notes"] == [note], words
    home = ["--home", str(tmp_path / "home")]
    words = ["run", "--rule", "bp", "--network", "mlp", "--epochs", "1", "--no-store"]
    words += [*home, *where]
    ran = lbench(*words, "--dataset", "imagefolder", "--data", "size=8", "--json")
    assert ran.err.count(note) == 1
    assert ran.json["notes"] == [note]
    (spec,) = (tmp_path / "home").rglob("spec.json")
    assert note in spec.read_text()
