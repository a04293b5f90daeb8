"""ImageNet (ILSVRC 2012), the published 1 % of its training images, and 100 of its classes."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from lbench.config import param
from lbench.data import ilsvrc
from lbench.data.dataset import Location
from lbench.data.folders import Unread, class_images, listing, shortened
from lbench.data.image_files import UNVERIFIED, ImageFiles, Rows
from lbench.data.image_source import LARGEST, ImageSource
from lbench.data.imagefolder import ANNOTATIONS, TRAIN
from lbench.data.published_size import PublishedSize
from lbench.errors import DataError
from lbench.plurals import counted

VAL = "val"
ILSVRC = "ILSVRC"
CLS_LOC = Path("Data", "CLS-LOC")
"""The folder of the images in the published archive, below its folder ILSVRC."""
BOXES = Path("Annotations", "CLS-LOC", VAL)
"""The folder of the annotations of the validation images, likewise."""
SOLUTION = "LOC_val_solution.csv"
LABELS = frozenset({".csv", ".xml"})
"""Suffixes of files with the classes of validation images."""
SIZE = 224
PACKED = ("ILSVRC2012_img_train.tar", "imagenet-object-localization-challenge.zip")


class Imagenet(ImageSource):
    """1,281,167 training and 50,000 validation images in 1,000 classes (Russakovsky et al. 2015).

    The validation images are the test set. Classes are named by their WordNet ids (wnid). A copy
    with a part of the classes is read with these alone, also in the test set.
    """

    name = "imagenet"
    title = "ImageNet"
    epochs = 90
    recipe = MappingProxyType({"batch": 256})
    augmentation = "resizedcrop,flip"
    files = (
        f"train/<wnid>/* with val/<wnid>/*, or the published folder {ILSVRC}/ with {SOLUTION} "
        "beside it or its annotations in it"
    )
    published_size = PublishedSize(classes=1000, train=1_281_167, test=50_000)

    # As usual: the shorter side is resized to 256 pixels, and 224 x 224 are cropped.
    usual_resize = 256 / 224
    format = 2

    class Config(ImageSource.Config):
        """Options of ImageNet, whose images are large."""

        size: int = param(SIZE, low=1, high=LARGEST, help="Height and width in pixels")

    config: Imagenet.Config

    @property
    def classes(self) -> frozenset[str]:
        """Return the ids of the classes that are read."""
        return ilsvrc.thousand_classes()

    def directories(self, data_dir: Path | None) -> list[Path]:
        """List the directories to look in; every subset is also found in a folder imagenet."""
        directories = super().directories(data_dir)
        shared = [path.with_name(Imagenet.name) for path in directories if path.name == self.name]
        return list(dict.fromkeys((*directories, *shared)))

    def look(self, directory: Path) -> Location | None:
        """Find the folders of both splits.

        Raises:
            DataError: there are only archives, training images alone, or validation images
                without labels; or a class folder has no images.
        """
        inner = directory / ILSVRC
        for root, published in (
            (directory, None),
            (directory / CLS_LOC, directory),
            (inner / CLS_LOC, inner),
        ):
            if self.has_classes(root):
                return self.locate(root, published)
        for path in (*(directory / name for name in PACKED), *class_archives(directory)):
            if path.is_file():
                raise DataError(
                    f"{path} is not unpacked.",
                    f"Unpack it. {self.title} is read from {self.files}.",
                )
        return None

    def has_classes(self, root: Path) -> bool:
        """Return whether ``root`` has folders of classes in ``train``, but is no Tiny ImageNet."""
        if (root / VAL / ANNOTATIONS).is_file() or (root / "wnids.txt").is_file():
            return False
        return any(folder.name in self.classes for folder in listing(root / TRAIN).folders)

    def locate(self, root: Path, published: Path | None) -> Location:
        """List the files of both splits.

        Args:
            root: the folder with ``train`` and ``val``.
            published: the folder ILSVRC around it; None for a copy without one.
        """
        unread = Unread(root)
        train = self.training(root / TRAIN, unread)
        strange = strangers(root / TRAIN)
        val = listing(root / VAL)
        if folders := {folder.name for folder in val.folders if folder.name in self.classes}:
            present = {class_of(path, root) for path in train}
            test = class_images(root / VAL, unread, present)
            notes = (*unread.notes(), *strange, *untrained(folders - present))
            return Location.of(root, "folders", [*train, *test], notes)
        if not val.images:
            raise DataError(
                f"{root} has {TRAIN}/<wnid>/* but no images in {VAL}/, which is the test set.",
                f"Put the validation images into {VAL}/<wnid>/.",
            )
        labels = label_files(root, published)
        return Location.of(
            root, "flat", [*train, *val.images, *labels], (*unread.notes(), *strange)
        )

    def training(self, folder: Path, unread: Unread) -> list[Path]:
        """List the training images, class by class.

        Raises:
            DataError: a class folder has no images.
        """
        return class_images(folder, unread, self.classes)

    def listed(self, location: Location) -> ImageFiles:
        """List the image files of both splits with their labels; no image is opened.

        Raises:
            DataError: the class of a validation image is not known.
        """
        size = self.config.size
        title = self.title if size == SIZE else f"{self.title} ({size}x{size})"
        rows, notes = self.split(location)
        return ImageFiles.of(location.root, title, UNVERIFIED, rows, notes)

    def split(self, location: Location) -> tuple[Rows, tuple[str, ...]]:
        """Return the files of both splits with their classes, and notes.

        Raises:
            DataError: the class of a validation image is not known.
        """
        rows: Rows = {"train": [], "test": []}
        flat = location.layout == "flat"
        labels = labels_of(location) if flat else {}
        depth = len(location.root.parts)
        present: set[str] = set()
        untaught: set[str] = set()
        for file in location.files:
            parts = file.path.parts
            if file.path.suffix in LABELS:
                continue
            if parts[depth] == TRAIN:
                rows["train"].append((file, parts[depth + 1]))
                present.add(parts[depth + 1])
                continue
            label = labels.get(file.path.stem) if flat else parts[depth + 1]
            if label is None:
                raise DataError(
                    f"{file.path} has no line in {SOLUTION} and no annotation.",
                    "Add its class or remove the image.",
                )
            if label in present:
                rows["test"].append((file, label))
            elif label in self.classes:
                untaught.add(label)
        return rows, untrained(untaught)


class Imagenet100(Imagenet):
    """The 100 classes of ImageNet that contrastive learning made usual: Tian et al. (2020)."""

    name = "imagenet100"
    title = "ImageNet-100"
    recipe = MappingProxyType({})
    published_size = PublishedSize(classes=100, train=126_689, test=5_000)

    @property
    def classes(self) -> frozenset[str]:
        """Return the ids of the 100 classes."""
        return ilsvrc.hundred_classes()


class Imagenet1Pct(Imagenet):
    """12,811 training images, 12 or 13 of each class, with all validation images.

    The file names are those that SimCLR (Chen et al. 2020) published as its 1 % subset. They are
    picked from a whole copy of ImageNet, or from one that has only them.
    """

    name = "imagenet-1pct"
    title = "ImageNet 1 %"
    recipe = MappingProxyType({})
    published_size = PublishedSize(classes=1000, train=12_811, test=50_000)

    def training(self, folder: Path, unread: Unread) -> list[Path]:
        """List the images of the subset that are in ``folder``.

        Raises:
            DataError: there is none.
        """
        names = [f"{name.partition('_')[0]}/{name}" for name in ilsvrc.one_percent()]
        there = {label.name for label in listing(folder).folders}
        paths = [folder / name for name in names if name.partition("/")[0] in there]
        if present := [path for path in paths if path.is_file()]:
            return present
        raise DataError(
            f"{folder} has none of the {len(names):,} training images of {self.title}.",
            f"The images have their published names, such as {names[0]}.",
        )


def class_of(path: Path, root: Path) -> str:
    """Return the class folder of a path below ``root/train`` or ``root/val``."""
    return path.parts[len(root.parts) + 1]


def class_archives(directory: Path) -> list[Path]:
    """List the archives of single classes, which the archive of all training images contains."""
    here = [*listing(directory).others, *listing(directory / TRAIN).others]
    return [path for path in here if path.suffix == ".tar" and ilsvrc.WNID.fullmatch(path.stem)]


def strangers(train: Path) -> tuple[str, ...]:
    """Return the note on folders that are no classes of ILSVRC 2012, if there are any."""
    names = {folder.name for folder in listing(train).folders} - ilsvrc.thousand_classes()
    if not names:
        return ()
    number = counted(len(names), "folder")
    return (
        f"Not read: {number} in {TRAIN}/ of no class of ILSVRC 2012, {shortened(sorted(names))}.",
    )


def untrained(classes: set[str]) -> tuple[str, ...]:
    """Return the note on classes with validation images alone, if there are any."""
    if not classes:
        return ()
    number = counted(len(classes), "class", "classes")
    return (
        f"Not read: the validation images of {number} without training images, "
        f"{shortened(sorted(classes))}.",
    )


def label_files(root: Path, published: Path | None) -> list[Path]:
    """List the files with the classes of validation images that are in one folder.

    Raises:
        DataError: there are none.
    """
    folders = [root] if published is None else [root, published, published.parent]
    for folder in folders:
        if (folder / SOLUTION).is_file():
            return [folder / SOLUTION]
    annotations = sorted(((published or root) / BOXES).glob("*.xml"))
    if not annotations:
        raise DataError(
            f"{root / VAL} has images without labels.",
            f"Put {SOLUTION}, which comes with the Kaggle copy, beside {ILSVRC}/ or {VAL}/, unpack "
            f"{ILSVRC}/{BOXES.as_posix()}/, or move the images into {VAL}/<wnid>/. "
            "ImageSets/CLS-LOC/val.txt has no labels: it numbers the images.",
        )
    return annotations


def labels_of(location: Location) -> dict[str, str]:
    """Return the class id of each validation image by its name without suffix."""
    paths = [file.path for file in location.files if file.path.suffix in LABELS]
    if paths[0].name == SOLUTION:
        return ilsvrc.solution(paths[0])
    return ilsvrc.annotated(paths)
