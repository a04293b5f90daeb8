"""Sources search their directories in order, download data, and report every state."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from lbench.builtin import lbench_datasets
from lbench.data import _torchvision, download
from lbench.data.augment import Augmentation
from lbench.data.cifar10 import Cifar10
from lbench.data.digits import Digits
from lbench.data.mnist import Mnist
from lbench.data.source import MissingDataError, Source
from lbench.data.status import prepare, status
from lbench.errors import DataError, UsageError


def test_directories_are_searched_in_order(
    mnist_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Mnist()
    shutil.copytree(mnist_dir, source.download_dir)
    assert source.find().root == source.download_dir
    monkeypatch.setenv("LBENCH_DATA", str(mnist_dir.parent))
    assert source.find().root == mnist_dir
    shutil.copytree(mnist_dir, tmp_path / "mine" / "MNIST" / "raw")
    assert source.find(tmp_path / "mine").root == tmp_path / "mine" / "MNIST" / "raw"
    (tmp_path / "empty").mkdir()
    assert source.find(tmp_path / "empty").root == mnist_dir


def test_the_error_for_missing_data_names_every_directory_and_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingDataError) as caught:
        Mnist().load(tmp_path, download=False)
    searched = [tmp_path, tmp_path / "mnist", tmp_path / "nowhere", Mnist().download_dir]
    assert all(f"\n  {directory}" in caught.value.message for directory in searched)
    assert "train-images-idx3-ubyte" in caught.value.hint
    assert "--data-dir" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_data_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Mnist().load(tmp_path / "nowhere")


class Network:
    """Behaves as torchvision.datasets does with and without a network."""

    def __init__(self, files: Path | None) -> None:
        self.files = files

    def MNIST(self, root: str, download: bool) -> None:  # noqa: N802
        print("torchvision talks")
        Path(root, "MNIST").mkdir(parents=True)
        if self.files is None:
            raise OSError("Name or service not known")
        shutil.copytree(self.files, Path(root, "MNIST", "raw"))


def test_a_download_is_complete_and_prints_nothing_to_standard_output(
    mnist_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_torchvision, "load", lambda name: Network(mnist_dir))
    assert len(Mnist().load().train) == 60
    assert Mnist().find().root == Mnist().download_dir / "MNIST" / "raw"
    out, err = capsys.readouterr()
    assert out == ""
    assert "downloading MNIST" in err


def test_a_failed_download_is_an_error_and_leaves_no_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_torchvision, "load", lambda name: Network(None))
    with pytest.raises(DataError, match="Name or service not known") as caught:
        Mnist().load()
    assert "Without a network: Put train-images-idx3-ubyte" in caught.value.hint
    assert not list(Mnist().download_dir.iterdir())


def test_a_download_without_torchvision_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError("No module named 'torchvision'")

    monkeypatch.setattr(_torchvision, "load", absent)
    with pytest.raises(DataError, match="torchvision is not installed"):
        Cifar10().load()


def test_torchvision_can_be_imported_with_this_torch() -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    assert _torchvision.load("datasets").MNIST.__name__ == "MNIST"
    assert download.TIMEOUT > 0


def test_status_reports_every_state_without_raising(mnist_dir: Path, tmp_path: Path) -> None:
    source = Mnist()
    (tmp_path / "empty").mkdir()
    missing = status(source, tmp_path / "empty")
    assert missing["state"] == "missing"
    assert missing["message"]
    assert missing["hint"]
    raw = status(source, mnist_dir)
    assert (raw["state"], raw["digest"], raw["path"]) == ("found", None, str(mnist_dir))
    digest = prepare(source, mnist_dir).digest
    ready = status(source, mnist_dir)
    assert (ready["state"], ready["digest"]) == ("ready", digest)
    assert (ready["train"], ready["test"]) == (60, 20)
    assert ready["variant"].startswith("modified")
    (mnist_dir / "t10k-labels-idx1-ubyte.gz").unlink()
    assert status(source, mnist_dir)["state"] == "damaged"
    assert status(Digits())["state"] == "ready"
    json.dumps([missing, raw, ready])


@pytest.mark.parametrize("entry", lbench_datasets(), ids=lambda entry: entry.name)
def test_entries_name_sources(entry) -> None:  # type: ignore[no-untyped-def]
    module, name = entry.load.split(":")
    source = getattr(__import__(module, fromlist=[name]), name)()
    assert isinstance(source, Source)
    assert (source.name, source.title) == (entry.name, entry.title)
    assert source.epochs > 0
    assert bool(Augmentation.parse(source.augmentation)) == bool(source.augmentation)
