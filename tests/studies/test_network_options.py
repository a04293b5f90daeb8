"""The command line replaces networks and leaves images out; an encoder is a setting of a study."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from lbench.api.studies import Workers, on_network, search_study
from lbench.api.study_progress import SilentProgress
from lbench.errors import DataError, UsageError
from lbench.execute.worker import Setup
from lbench.home import Home
from lbench.registry import registry
from lbench.studies import driver
from lbench.studies import plan as planning
from lbench.studies.definition import Arm, Point, Study
from lbench.studies.settings import as_flags, request
from lbench.studies.study_file import read_study
from tests.data.streaming import write_folder
from tests.studies.helper import lbench, study
from tests.training.test_encoder import state_dict

ARMS = (Arm("bp"), Arm("lfnn_l", network="mlp-275k"))


def planned(asked: Study, network: str | None = None, net: dict[str, Any] | None = None) -> Any:
    return planning.plan(on_network(asked, registry(), network, net or {}), registry())


def test_a_network_replaces_those_of_the_study_but_not_that_of_an_arm() -> None:
    asked = study(*ARMS, networks=("cnn",), networks_by_dataset={"digits": ("mlp-2x256",)})
    assert [p.network for p in planned(asked).points] == ["mlp-2x256", "mlp-275k"]
    points = planned(asked, "mlp-deep", {"width": "20", "depth": "2"}).points
    assert [point.key for point in points] == [
        "bp/digits/mlp-deep/net.width=20,net.depth=2",
        "lfnn_l/digits/mlp-275k",
    ]
    assert points[0].settings == {"net.width": 20, "net.depth": 2}


@pytest.mark.parametrize("settings", [{"net.widths": [9]}, {"epochs": 1}])
def test_an_option_of_the_network_is_part_of_the_name_of_a_point(settings: dict[str, Any]) -> None:
    """Runs with other options do not replace those that a study has without them."""
    asked = study(Arm("bp", settings=settings), networks=("mlp",))
    plans = [planned(asked, net=net) for net in ({}, {"widths": "30,20"}, {"widths": [30, 20]})]
    plain, text, values = [plan.points[0] for plan in plans]
    assert plain.key == "bp/digits/mlp"
    assert text == values
    assert text.key == "bp/digits/mlp/net.widths=30+20"
    assert plans[1].resolved[text.key].cell.network_spec.model_dump()["widths"] == (30, 20)
    assert "--net widths=30,20" in as_flags(text, {}, registry())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "resnet19"], "Did you mean resnet18"),
        (
            ["--network", "mlp", "--net", "width=3"],
            "option of network mlp 'width'. Did you mean",
        ),
        (["--network", "mlp", "--net", "widths=x"], "widths"),
        (["--net", "widths"], "--net takes NAME=VALUE, but got 'widths'"),
        (["--loader-workers", "0"], "0 is not in the range"),
        (["--skip-bad", "--datasets", "digits"], "--skip-bad cannot act: no images of digits"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_what_is_wrong(
    words: list[str], message: str, tmp_path: Path
) -> None:
    done = lbench("study", "leadership", "--datasets", "digits", *words, "--home", str(tmp_path))
    assert done.code == 2
    assert message in " ".join(done.err.split())


def test_a_network_is_refused_if_every_arm_has_its_own() -> None:
    asked = study(Arm("bp", network="mlp"))
    for network, net, flag in (("cnn", {}, "--network"), (None, {"norm": "batch"}, "--net")):
        with pytest.raises(UsageError, match=f"{flag} cannot act: every arm"):
            planned(asked, network, net)


# Images and loader processes


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "pets")
    (folder / "train" / "cat" / "03.jpg").write_text("no image")
    return folder


@pytest.mark.parametrize("by", ["command line", "file"])
def test_images_that_cannot_be_decoded_are_left_out_where_a_dataset_has_images(
    damaged: Path, by: str
) -> None:
    settings: dict[str, Any] = {"epochs": 1, "net.widths": [4]}
    names = ["imagefolder", "digits"]
    with pytest.raises(DataError, match=r"03\.jpg"):
        planning.plan(
            study(Arm("bp", settings=settings)), registry(), datasets=names, data_dir=damaged
        )
    skip = by == "command line"
    settings |= {} if skip else {"data.skip_bad": True}
    plan = planning.plan(
        study(Arm("bp", settings=settings), networks=("mlp",)), registry(), datasets=names,
        data_dir=damaged, skip_bad=skip,
    )  # fmt: skip
    folder, digits = plan.points
    assert folder.settings["data.skip_bad"] is True
    assert "data.skip_bad" not in digits.settings
    assert len(plan.resolved[folder.key].dataset.train) == 23


def test_worker_processes_get_the_number_of_loader_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups: list[Setup] = []

    class NotedError(Exception):
        """Ends the study before any process starts."""

    def worker(setup: Setup, *, fresh: bool) -> None:
        setups.append(setup)
        raise NotedError

    monkeypatch.setattr("lbench.execute.pool.Worker", worker)
    plan = planning.plan(study(Arm("bp"), settings={"epochs": 1}), registry())
    with pytest.raises(NotedError):
        driver.drive(
            plan, Home(tmp_path), registry(), None, SilentProgress(), command="", devices=["cpu"],
            loader_workers=3,
        )  # fmt: skip
    assert setups[0].loader_workers == 3
    assert Workers().loader_workers is None


# Encoders

SETTINGS: dict[str, Any] = {"epochs": 1, "net.width": 4, "net.stages": [1, 1], "net.hidden": [20]}
ENCODED = """
title = "Encoder"
question = "Which?"
datasets = ["digits"]
networks = ["resnet18"]
rules = ["bp"]
seeds = 1

[set]
epochs = 1
encoder = "weights/resnet.pth"
"net.width" = 4
"net.stages" = [1, 1]
"net.hidden" = [20]

[axes]
freeze_encoder = [false, true]
"""


def test_an_encoder_is_a_setting_whose_content_is_part_of_the_configuration(
    tmp_path: Path,
) -> None:
    path = tmp_path / "encoder.toml"
    path.write_text(ENCODED)
    weights = tmp_path / "weights" / "resnet.pth"
    weights.parent.mkdir()
    torch.save(state_dict(), weights)
    plan = planning.plan(read_study(path), registry())
    trained, frozen = plan.points
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    for point, given in ((trained, True), (frozen, False)):
        cell = plan.resolved[point.key].cell
        assert cell.spec()["network"]["encoder"] == {"sha256": digest, "trained": given}
    words = as_flags(frozen, {}, registry())
    assert f"--encoder {weights} " in words
    assert words.endswith("--freeze-encoder")
    assert "freeze" not in as_flags(trained, {}, registry())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "none.pth"}, "At bp/digits/resnet18: .*none.pth"),
        ({"encoder": 3}, "Setting encoder must be the path of a file, but got 3"),
        ({"encoder": ""}, "Setting encoder must be the path"),
        ({"freeze_encoder": "maybe"}, "Setting freeze_encoder must be true or false"),
        ({"freeze_encoder": [True]}, "Setting freeze_encoder must be true or false"),
        ({"freeze_encoder": True}, "--freeze-encoder needs the weights that are kept"),
    ],
)
def test_a_wrong_encoder_is_an_error_that_names_the_point(
    settings: dict[str, Any], message: str
) -> None:
    arm = Arm("bp", settings={**SETTINGS, **settings})
    with pytest.raises(UsageError, match=message):
        planning.plan(study(arm, networks=("resnet18",)), registry())


def test_a_search_of_tune_takes_an_encoder_as_text(tmp_path: Path) -> None:
    settings = {"encoder": "a.pth", "freeze_encoder": "True"}
    asked = search_study(registry(), "bp", "digits", "resnet18", 1, None, settings, None)
    point = Point(0, "bp", "digits", "resnet18", {}, asked.arms[0].settings)
    wanted = request(point, registry(), "strict")
    assert wanted.encoder == Path("a.pth")
    assert wanted.freeze_encoder is True
