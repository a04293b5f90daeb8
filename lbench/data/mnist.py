"""MNIST and the datasets in the same four files: Fashion-MNIST and KMNIST."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from lbench.data.checksum import md5, title_and_variant
from lbench.data.dataset import Location, Raw
from lbench.data.idx import pair, parse, spelled, unpack
from lbench.data.published_size import PublishedSize
from lbench.data.source import Source
from lbench.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MD5 = MappingProxyType(
    {
        "MNIST": (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
        "Fashion-MNIST": (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        "KMNIST": (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    }
)
"""MD5 of the published files by title: unpacked for MNIST, gzipped for the others."""
TITLES = MappingProxyType({value: title for title, values in MD5.items() for value in values})


class Mnist(Source):
    """60,000 training and 10,000 test digits of 28x28 (LeCun, Cortes and Burges, 1998).

    Class attributes:
        class_names: class names, in label order.
        unpacked_sums: whether the check sums are those of unpacked files.
    """

    name = "mnist"
    title = "MNIST"
    epochs = 15
    recipe = MappingProxyType({"lr": 0.003})
    standardize = True
    files = f"{', '.join(FILES)} (each as it is or with .gz)"
    torchvision = "MNIST"
    format = 2
    published_size = PublishedSize(classes=10, train=60_000, test=10_000)
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    unpacked_sums: ClassVar[bool] = True

    def look(self, directory: Path) -> Location | None:
        """Find the four files, also in torchvision's folders."""
        for folder in (directory, directory / self.torchvision / "raw"):
            paths = {name: spelled(folder, name, packed=not self.unpacked_sums) for name in FILES}
            present = [path for path in paths.values() if path is not None]
            if not present:
                continue
            if missing := [name for name, path in paths.items() if path is None]:
                raise DataError(
                    f"{folder} has a part of {self.title}; missing: {', '.join(missing)}.",
                    "Put the missing files (with or without .gz) beside the others.",
                )
            return Location.of(folder, "idx", present)
        return None

    def read(self, location: Location) -> Raw:
        """Parse the four files and compare their check sums."""
        arrays, same = [], []
        for name, published, file in zip(FILES, MD5[self.title], location.files, strict=True):
            packed = file.path.read_bytes()
            data = unpack(packed, file.path)
            sums = {md5(packed), md5(data)}
            self._refuse_others(sums, file.path)
            same.append(published in sums)
            arrays.append(parse(file.path, data, shape=(28, 28) if "images" in name else ()))
        # An unpacked file has no published check sum if only those of gzipped ones are known.
        verified = all(same) or (False if self.unpacked_sums else None)
        title, variant = title_and_variant(self.title, verified)
        numbers = range(len(self.class_names))
        return Raw(
            title=title,
            variant=variant,
            classes=self.class_names,
            train=pair(arrays[0], arrays[1], location.files[1].path, numbers),
            test=pair(arrays[2], arrays[3], location.files[3].path, numbers),
        )

    def _refuse_others(self, sums: set[str], path: Path) -> None:
        """Refuse a file of another dataset, which has the same name and the same format.

        Raises:
            DataError: it is one.
        """
        for title in {TITLES[value] for value in sums & TITLES.keys()} - {self.title}:
            raise DataError(
                f"{path} is a file of {title}, not of {self.title}.",
                f"Name the directory with {self.title} in --data-dir.",
            )


class MnistLike(Mnist):
    """A dataset whose files have the names and the format of MNIST's."""

    format = 1
    published_size = PublishedSize(classes=10, train=60_000, test=10_000, balanced=True)
    unpacked_sums = False

    def directories(self, data_dir: Path | None) -> list[Path]:
        """List the directories to look in; ``LBENCH_DATA`` itself may have MNIST's files."""
        usual = super().directories(data_dir)
        own = [root for root in usual if root.name == self.name]
        inside = [root / self.torchvision / "raw" for root in usual if root.name != self.name]
        if data_dir is None:
            return [*own, *inside]
        # A directory that the user names may have MNIST beside folders of other datasets.
        named = [data_dir / self.name, data_dir / self.torchvision / "raw", data_dir]
        return list(dict.fromkeys([*named, *own, *inside]))


class FashionMnist(MnistLike):
    """70,000 pictures of clothes, 28x28 (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747)."""

    name = "fashion-mnist"
    title = "Fashion-MNIST"
    torchvision = "FashionMNIST"
    class_names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    )  # fmt: skip


class Kmnist(MnistLike):
    """70,000 cursive Japanese characters, 28x28 (Clanuwat et al., 2018, arXiv:1812.01718)."""

    name = "kmnist"
    title = "KMNIST"
    torchvision = "KMNIST"
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
