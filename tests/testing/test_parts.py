"""The kits of datasets, networks and probes pass the installed ones, and find planted faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from lbench import Block, Column, Layer, Location, Network, NetworkSpec, Probe, Raw, Readout, Split
from lbench.cli.main import cli
from lbench.data.digits import Digits
from lbench.data.imagefolder import ImageFolder
from lbench.hooks import DatasetEntry, NetworkEntry, ProbeEntry
from lbench.networks.mlp import Mlp
from lbench.registry import registry
from lbench.testing import PART_CHECKS, SUBJECTS, Outcome, conform_part
from lbench.testing.part_subject import DatasetSubject
from tests.data.streaming import write_folder

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def outcomes(kind: str, name: str, **options: Any) -> dict[str, Outcome]:
    subject = SUBJECTS[kind](name, options)
    return {outcome.check: outcome for outcome in conform_part(kind, subject)}


def failed(kind: str, name: str) -> list[str]:
    return [check for check, outcome in outcomes(kind, name).items() if outcome.status == "failed"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("dataset", "digits"), ("dataset", "split-digits"), ("network", "mlp"), ("network", "lenet"),
     ("network", "resnet8"), ("network", "mixer-s"), ("network", "lfnn-v1-mnist"),
     ("probe", "online"), ("probe", "tasks"), ("probe", "leaders")],
)  # fmt: skip
def test_installed_ones_pass_every_check(kind: str, name: str) -> None:
    statuses = {outcome.status for outcome in outcomes(kind, name).values()}
    assert statuses == {"passed"}


def test_a_streamed_dataset_is_never_decoded_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFolder, "decode", None)
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "pets", train=3, test=1)
    subject = DatasetSubject("imagefolder", {"size": 8, "stream": "yes"}, folder)
    found = list(conform_part("dataset", subject))
    assert {outcome.status for outcome in found} == {"passed"}
    assert "6 training and 2 test images, 3x8x8" in [outcome.detail for outcome in found]


class Drawn(Digits):
    """Draws from NumPy's global generator."""

    name = "drawn"

    def read(self, location: Location) -> Raw:
        raw = super().read(location)
        noise = np.random.randint(0, 2, raw.train.images.shape).astype(np.uint8)
        return Raw(
            "t", "v", raw.classes, Split(raw.train.images | noise, raw.train.labels), raw.test
        )


class Small(Digits):
    """Has labels of another type, and classes of one name."""

    name = "small_labels"

    def read(self, location: Location) -> Raw:
        raw = super().read(location)
        labels: Any = raw.train.labels.astype(np.int32)
        return Raw("t", "v", raw.classes, Split(raw.train.images, labels), raw.test)


class Leaky(Block):
    """An activation that writes into z and mixes units."""

    def activate(self, z: Tensor) -> Tensor:
        return z.sub_(z.mean(1, keepdim=True)).relu_()


class Scaled(Block):
    """A trained parameter outside of the layers."""

    def __init__(self, layer: Layer, **options: Any) -> None:
        super().__init__(layer, **options)
        self.scale = nn.Parameter(torch.ones(1))

    def emit(self, h: Tensor, s: Any = None) -> Tensor:
        return super().emit(h * self.scale, s)


def of_block(cls: type[Block], name: str = "fc1") -> type[NetworkSpec]:
    class Spec(NetworkSpec):
        def build(self, init: Any, shape: Any, classes: int, dropout: float = 0.0) -> Network:
            size = shape[0] * shape[1] * shape[2]
            blocks = [
                cls(Layer("fc1", init.linear("fc1", size, 9)), dropout=dropout),
                Block(Layer(name, init.linear("fc2", 9, 8)), dropout=dropout),
            ]
            return Network(blocks, Readout(init.linear("readout", 8, classes)))

    return Spec


class Global(Mlp):
    def build(self, init: Any, shape: Any, classes: int, dropout: float = 0.0) -> Network:
        network = super().build(init, shape, classes, dropout)
        network.readout = Readout(nn.Linear(network.readout.linear.in_features, classes))
        return network


class Undropped(Mlp):
    def build(self, init: Any, shape: Any, classes: int, dropout: float = 0.0) -> Network:
        return super().build(init, shape, classes)


class Meddling(Probe):
    """Changes the weights."""

    columns: ClassVar = {"one": Column("int", "One")}

    def epoch_end(self, epoch: int, step: int) -> None:
        next(self.scene.rule.parameters()).mul_(0.5)
        self.record(one=1)


class Silent(Probe):
    columns: ClassVar = {"one": Column("int", "One")}


class Broken(Silent):
    def epoch_end(self, epoch: int, step: int) -> None:
        self.record(two=1)


class Stepping(Probe):
    columns: ClassVar = {"step": Column("int", "")}

    def epoch_end(self, epoch: int, step: int) -> None:
        self.record(step=1)


CLASSES: dict[str, tuple[str, type[Any]]] = {
    "drawn": ("datasets", Drawn),
    "small_labels": ("datasets", Small),
    "leaky": ("networks", of_block(Leaky)),
    "scaled": ("networks", of_block(Scaled)),
    "twice": ("networks", of_block(Block, "fc1")),
    "global": ("networks", Global),
    "undropped": ("networks", Undropped),
    "meddling": ("probes", Meddling),
    "silent": ("probes", Silent),
    "broken": ("probes", Broken),
    "stepping": ("probes", Stepping),
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the faulty classes."""
    entries: dict[str, Callable[[str], Any]] = {
        "datasets": lambda name: DatasetEntry(name, "t", "m:C", "mlp", (1, 8, 8), 10),
        "networks": lambda name: NetworkEntry(name, "t", "m:C"),
        "probes": lambda name: ProbeEntry(name, "t", "m:C"),
    }
    known = registry()
    for name, (kind, _) in CLASSES.items():
        monkeypatch.setitem(known.entries(kind), name, entries[kind](name))
    load = type(known).load

    def loaded(self: Any, kind: str, name: str) -> Any:
        return CLASSES[name][1] if name in CLASSES else load(self, kind, name)

    monkeypatch.setattr(type(known), "load", loaded)


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("drawn", "decoding_repeats"),
        ("small_labels", "arrays_fit"),
        ("leaky", "blocks_divide_at_z"),
        ("scaled", "parameters_are_in_layers"),
        ("twice", "layers_are_named_in_order"),
        ("global", "same_seed_same_network"),
        ("undropped", "dropout_is_addressed"),
        ("meddling", "the_run_stays_the_same"),
        ("silent", "the_run_stays_the_same"),
        ("broken", "the_run_stays_the_same"),
        ("stepping", "columns_are_declared"),
    ],
)
def test_a_planted_fault_is_found(name: str, check: str) -> None:
    assert check in failed(CLASSES[name][0].removesuffix("s"), name)


def test_the_page_has_every_check_of_each_kind() -> None:
    for kind, checks in PART_CHECKS.items():
        for check in checks:
            assert f"| {kind} | `{check.name}` | {check.claim} |" in PAGE


def test_the_command_checks_one_part_and_prints_json() -> None:
    found = CliRunner().invoke(cli, ["check", "--network", "mlp", "--json"], standalone_mode=False)
    assert found.return_value == 0
    (report,) = json.loads(found.stdout)
    assert report["network"] == "mlp"
    assert report["failed"] == 0
    both = CliRunner().invoke(cli, ["check", "bp", "--network", "mlp"], standalone_mode=False)
    assert "takes one thing" in str(both.exception)
    nothing = CliRunner().invoke(cli, ["check"], standalone_mode=False)
    assert "takes one thing" in str(nothing.exception)
