"""Tests of the listings, of ``lbench data`` and of what they print."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from lbench.cli.main import COMMANDS, Commands, cli
from lbench.errors import LbenchError, UsageError
from lbench.home import Home
from lbench.registry import registry
from lbench.store.record import Record
from tests.store.helper import cell_spec, write_run

HEAVY = {"torch", "mlflow", "optuna", "pandas", "sqlalchemy", "pydantic", "numpy", "scipy"}


@pytest.fixture(autouse=True)
def _empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache, an empty home and no data directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "decoded"))
    monkeypatch.setenv("LBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LBENCH_DATA", raising=False)
    monkeypatch.delenv("LBENCH_STORE", raising=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with class folders; its name has a space, which a shell must quote."""
    from PIL import Image

    for label in ("cat", "dog"):
        for number in range(3):
            path = tmp_path / "my pictures" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(path)
    return tmp_path / "my pictures"


def call(*args: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, args, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert (done.return_value or 0) == code, done.output
    return done.stdout


def parsed(*args: str, code: int = 0) -> Any:
    return json.loads(call(*args, "--json", code=code))


@pytest.mark.parametrize(
    "args", [["--help"], ["rules"], ["plugins"], ["networks"], ["datasets"], ["probes"]]
)
def test_listings_import_no_heavy_package(args: list[str]) -> None:
    script = (
        "import sys\n"
        "from lbench.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as error:\n"
        "    assert not error.code, error.code\n"
        "print('\\n' + ' '.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.splitlines()[-1].split()) & HEAVY == set()


def test_rules_are_listed() -> None:
    assert "Rumelhart" in call("rules")
    rows = parsed("rules")
    assert {"name", "title", "paper", "plugin"} == set(rows[0])
    assert "bp" in [row["name"] for row in rows]


def test_a_rule_shows_claims_options_and_published_numbers() -> None:
    text = call("rules", "bp")
    assert "Claims on mlp-275k" in text
    assert "BP-free           no" in text
    assert "No options" in call("rules", "fa")
    assert "272K-275K parameters, network not stated" in text
    content = parsed("rules", "bp")
    assert content["claims"]["backward_depth"] == "full"
    assert content["claims"]["per_block"] == {}
    assert content["published"][0]["source"]


def test_published_numbers_with_other_options_are_counted() -> None:
    content = parsed("rules", "lfnn_l")
    assert {option["name"] for option in content["options"]} >= {"leadership"}
    at_defaults = [row for row in content["published"] if row["setting"] == "leadership=0.7"]
    text = call("rules", "lfnn_l")
    assert "workers per block 26" in text
    assert f"{len(content['published']) - len(at_defaults)} more with other options" in text
    assert "0.7" in text


def test_a_network_shows_its_layers_by_block() -> None:
    content = parsed("networks", "mlp-275k")
    assert content["parameters"] == 274_570
    assert content["dataset"] == "mnist"
    assert [block["parameters"] for block in content["blocks"]] == [204_100, 67_860]
    assert content["readout"]["parameters"] == 2610
    assert content["options"][0]["default"] == [260, 260]
    assert "274,570" in call("networks", "mlp-275k")


def test_blocks_regroup_the_layers() -> None:
    (block,) = parsed("networks", "mlp-275k", "--blocks", "1")["blocks"]
    assert [layer["name"] for layer in block["layers"]] == ["fc1", "fc2"]
    with pytest.raises(UsageError, match="2 blocks and cannot be cut into 3"):
        call("networks", "mlp-275k", "--blocks", "3")


def test_a_network_is_shown_on_its_own_dataset_or_another() -> None:
    content = parsed("networks", "cnn-876k")
    assert content["dataset"] == "cifar10"
    assert content["blocks"][0]["layers"][0]["map"] == "3x3 convolution"
    assert parsed("networks", "cnn-876k", "--dataset", "mnist")["shape"] == [1, 28, 28]
    assert parsed("networks", "mixer-m8")["dataset"] == "cifar10", "as its title says"
    assert parsed("networks", "lfnn-v1-mnist", "--blocks", "1")["dataset"] == "mnist"
    with pytest.raises(LbenchError, match="'imagefolder' was not found") as caught:
        call("networks", "cnn", "--dataset", "imagefolder")
    assert "--data-dir" in caught.value.hint


def test_a_network_is_shown_on_the_users_own_images(pictures: Path) -> None:
    options = ["--data-dir", str(pictures), "--data", "size=6"]
    with pytest.raises(LbenchError, match="not known before it is decoded") as caught:
        call("networks", "mlp", "--dataset", "imagefolder", *options)
    words = shlex.split(caught.value.hint.partition(": lbench ")[2])
    assert "is ready" in call(*words)
    content = parsed("networks", "mlp", "--dataset", "imagefolder", *options)
    assert (content["shape"], content["classes"]) == ([3, 6, 6], 2)


@pytest.mark.parametrize(
    "args", [["--blocks", "-3"], ["--dataset", "nope"], ["--data-dir", "."], ["--data", "size=6"]]
)
def test_options_of_one_network_need_its_name(args: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{args[0]} needs the NAME"):
        call("networks", *args)


def test_shapes_are_those_of_the_data() -> None:
    from lbench.cli.networks import shape_of
    from lbench.registry import registry

    dataset = registry().load("datasets", "digits")().load()
    assert shape_of("digits") == (dataset.shape, dataset.num_classes)
    known = {name for name, entry in registry().datasets.items() if entry.shape}
    assert known >= {"digits", "mnist", "cifar10", "tiny-imagenet"}


def test_a_missing_dataset_names_the_directories_that_were_searched(tmp_path: Path) -> None:
    assert "mlp-275k" in call("datasets")
    content = parsed("datasets", "mnist", "--data-dir", str(tmp_path))
    assert content["state"] == "missing"
    assert str(tmp_path) in content["message"]
    assert str(tmp_path) in content["directories"]
    text = call("datasets", "digits")
    assert "digest           94b57afd004b" in text
    assert "1x8x8, 10 classes" in text


def test_a_dataset_shows_its_options() -> None:
    options = {row["name"]: row for row in parsed("datasets", "split-digits")["options"]}
    assert list(options) == ["permute", "tasks", "scenario", "per_task"]
    assert options["scenario"]["default"] == "domain"
    text = call("datasets", "split-digits")
    assert "Options (--data)" in text
    assert "domain or class" in text


def test_each_listed_option_of_a_dataset_has_the_default_of_its_class() -> None:
    for name in registry().datasets:
        cls = registry().load("datasets", name)
        options = {row["name"]: row["default"] for row in cls.Config.table()}
        plain = cls()
        assert cls(**options).options() == plain.options()
        assert {**options, **plain.options()} == options
        assert options["permute"] is None


@pytest.mark.parametrize(
    "args",
    [["data", "status"], ["data", "prepare"], ["datasets", "digits"], ["data", "status", "digits"]],
)
def test_a_data_directory_that_does_not_exist_is_an_error(args: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        call(*args, "--data-dir", str(tmp_path / "nope"))
    with pytest.raises(UsageError, match="needs the NAME"):
        call("datasets", "--data-dir", str(tmp_path))


def test_data_takes_the_options_of_a_dataset(pictures: Path) -> None:
    args = ["imagefolder", "--data-dir", str(pictures), "--data", "size=6"]
    (row,) = parsed("data", "prepare", *args)
    assert row["shape"] == [3, 6, 6]
    (row,) = parsed("data", "status", *args)
    assert (row["state"], row["options"]) == ("ready", {"size": 6})
    (row,) = parsed("data", "status", *args[:3])
    assert row["state"] == "found", "at another size"
    with pytest.raises(UsageError, match="takes NAME=VALUE"):
        call("data", "status", "imagefolder", "--data", "size")
    with pytest.raises(UsageError, match="name the dataset"):
        call("data", "status", "--data", "size=6")
    with pytest.raises(UsageError, match="option of dataset mnist"):
        call("data", "status", "mnist", "--data", "size=6")


def test_test_reads_are_shown_if_the_home_has_a_store(tmp_path: Path) -> None:
    assert parsed("datasets", "digits")["test_reads"] is None
    assert "test reads" not in call("datasets", "digits")
    home = Home(tmp_path / "home")
    assert not home.root.exists()
    with Record.open(home) as record:
        assert parsed("datasets", "digits")["test_reads"] == 0
        spec = cell_spec("bp", "digits")
        spec["task"]["digest"] = parsed("datasets", "digits")["digest"]
        for seed in range(3):
            record.take(write_run(home, seed, spec=spec))
    assert parsed("datasets", "digits")["test_reads"] == 6
    assert "test reads       6" in call("datasets", "digits")
    reads = {row["name"]: row["test_reads"] for row in parsed("data", "status")}
    assert (reads["digits"], reads["mnist"]) == (6, None)
    elsewhere = ["--home", str(tmp_path / "elsewhere")]
    assert parsed("data", "status", "digits", *elsewhere)[0]["test_reads"] is None


def test_a_broken_store_hides_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "store.db").write_bytes(b"no database" * 1000)
    (row,) = parsed("data", "status", "digits")
    assert (row["state"], row["test_reads"]) == ("ready", None)


def test_a_study_shows_its_question_and_its_settings() -> None:
    titles = {study["name"]: study["title"] for study in parsed("studies")}
    assert titles["followers"] == "Do leaders and followers help at all?"
    one = parsed("studies", "leadership")
    assert one["trials"] == 50
    assert one["rules"] == ["lfnn_l", "lfnn_l_rr", "lfnn"]
    text = call("studies", "followers")
    assert "rand_local" in text
    assert "lbench study followers" in text
    with pytest.raises(UsageError, match="Unknown study 'nothing'"):
        call("studies", "nothing")


def test_a_probe_shows_the_columns_of_its_table() -> None:
    assert "online" in [row["name"] for row in parsed("probes")]
    content = parsed("probes", "leaders")
    assert content["plugin"] == "lfnn"
    assert [column["name"] for column in content["columns"]][:3] == ["step", "epoch", "block"]
    text = call("probes", "leaders")
    assert "list[float]" in text
    assert "--probe leaders" in text
    with pytest.raises(UsageError, match="Unknown probe 'leader'") as caught:
        call("probes", "leader")
    assert "leaders" in caught.value.hint


def test_plugins_are_listed_with_their_entries() -> None:
    plugins = {plugin["name"]: plugin for plugin in parsed("plugins")}
    assert plugins["bp"]["brings"]["rules"] == ["bp"]
    assert plugins["core"]["distribution"] == "lbench"
    assert "rules: bp" in call("plugins")


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (["rules", "bpp"], "bp"),
        (["networks", "mlp-275"], "mlp-275k"),
        (["datasets", "mnits"], "mnist"),
        (["data", "status", "mnits"], "mnist"),
        (["networks", "mlp", "--dataset", "mnits"], "mnist"),
    ],
)
def test_the_error_for_an_unknown_name_suggests_the_nearest(args: list[str], near: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(*args)
    assert caught.value.exit_code == 2
    assert near in caught.value.hint


def test_data_status_shows_every_dataset() -> None:
    rows = {row["name"]: row for row in parsed("data", "status")}
    assert rows["digits"]["state"] == "ready"
    assert rows["mnist"]["state"] == "missing"
    text = call("data", "status", "mnist")
    assert "Looked in" in text
    assert "--data-dir" in text


def test_data_status_fits_a_narrow_terminal_and_names_a_missing_dataset_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lbench.output.table.columns", lambda: 80)
    text = call("data", "status")
    for name in registry().datasets:
        assert re.search(rf"^ {name} ", text, re.MULTILINE), "a name is not folded"
    (digits,) = parsed("data", "status", "digits")
    assert f"\ndigits: {digits['path']}, digest {digits['digest'][:12]}\n" in text
    assert "was not found" not in text
    assert text.endswith("belong: lbench data status NAME\n")
    both = call("data", "status", "mnist", "permuted-mnist")
    assert both.count("Dataset 'mnist' was not found") == 1


def test_data_prepare_fails_with_3_for_missing_data() -> None:
    (row,) = parsed("data", "prepare", "mnist", "--no-download", code=3)
    assert row["state"] == "missing"
    assert row["hint"]
    assert "is ready" in call("data", "prepare", "digits")


def test_data_prepare_without_names_decodes_what_is_found_and_downloads_nothing() -> None:
    rows = {row["name"]: row for row in parsed("data", "prepare")}
    assert {row["state"] for row in rows.values()} == {"ready"}
    assert "digits" in rows
    assert not rows.keys() & {"mnist", "svhn", "imagefolder"}


COMMAND_NAMES = [name for name in COMMANDS if name in {
    "rules", "networks", "datasets", "studies", "probes", "plugins", "compare", "data", "ui", "sync"
}]  # fmt: skip


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_help_ends_with_an_example(name: str) -> None:
    assert call(name, "--help").rstrip().splitlines()[-1].strip().startswith("Example: lbench")


def test_names_are_completed_without_loading_them() -> None:
    group = cli
    assert isinstance(group, Commands)
    context = click.Context(group)
    command = group.get_command(context, "networks")
    assert command is not None
    argument = command.params[0]
    completions = argument.shell_complete(click.Context(command), "mlp-")
    names = [name for name in registry().networks if name.startswith("mlp-")]
    assert len(names) > 5
    assert [item.value for item in completions] == names
