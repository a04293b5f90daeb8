"""Tests of ``lbench audit``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbench.cli.audit import command

CHEAT = '''
from lbench import Claims, LocalRule


class Chatty(LocalRule):
    """Says that it is local, and writes into the next block."""

    @classmethod
    def claims(cls, config, network):
        return Claims(transport="none", backward_depth=0, update_locked=False)

    def loss(self, v, s):
        for block in self.network.blocks[v.k + 1 :]:
            block.layers[0].affine.weight.data.mul_(0.9)
        return v.h.square().mean()
'''


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_json_has_claims_and_measurements() -> None:
    done = call("lfnn_l", "--set", "leadership=0.5", "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["rule"] == "lfnn_l"
    assert content["config"]["leadership"] == 0.5
    assert content["audit"]["bp_free"] == {"claimed": True, "measured": True}
    assert set(content["audit"]) == {
        "bp_free", "backward_depth", "transport", "update_locked", "global_error", "couples",
        "writes", "prediction", "randomness",
    }  # fmt: skip
    assert content["contradictions"] == []
    assert content["verdict"] == "as claimed"
    assert (content["unmeasurable"], content["reasons"]) == ([], [])
    assert [layer["name"] for layer in content["layers"]] == ["fc1", "fc2", "fc3", "readout"]
    assert content["locality"][0] == {
        "unit": "block0", "redrawn": "block1", "moved_at_step": None, "waits": False,
    }  # fmt: skip


def test_a_table_shows_the_depth_of_each_layer() -> None:
    done = call("bp")
    assert done.exit_code == 0
    assert "What was measured is what is claimed." in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["fc1", "full", "full", "full", "3"] in lines
    assert ["block0", "1w", "1w", "1w"] in lines


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "chatty.py"
    file.write_text(CHEAT)
    return file


def test_a_contradicted_claim_gives_exit_code_5_and_its_evidence(chatty: Path) -> None:
    arguments = ["chatty", "--plugin", str(chatty)]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.return_value == 5
    assert "CONTRADICTED" in done.stdout
    assert "fc2.weight was changed before the update of block0" in " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.no_cover
def test_several_rules_make_a_table_with_the_reason_of_each_refusal() -> None:
    done = call("fa", "lfnn_l", "fg_a", "--network", "cnn", "--markdown")
    assert done.exit_code == 0, done.output
    _, _, *lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    assert lines[0] == ["fa", "yes", "0", "none", "yes", "vector", "mean"]
    assert lines[1] == ["lfnn_l", "yes", "0", "none", "no", "none", "mean"]
    assert lines[2] == ["fg_a", *"—" * 6]
    assert lines[-1][0].startswith("- fg_a: Rule fg_a takes a directional derivative")
    assert lines[-1][0].endswith("Add --net norm=group or --net norm=none.")

    content = json.loads(call("fa", "fg_a", "--network", "cnn", "--json").stdout)
    fa, fg_a = content["rules"]
    assert fa["audit"]["backward_depth"] == {"claimed": 0, "measured": 0}
    assert fg_a["refusal"].startswith("Rule fg_a")


def test_a_contradiction_in_a_table_is_printed_and_gives_exit_code_5(chatty: Path) -> None:
    arguments = ["chatty", "fa", "--plugin", str(chatty)]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.return_value == 5
    assert "chatty: CONTRADICTED writes" in " ".join(done.stdout.split())


def test_set_is_refused_for_several_rules() -> None:
    assert call("fa", "dfa", "--set", "conv=full").exit_code == 2


def test_a_table_of_one_rule_uses_its_options() -> None:
    done = call("lg_bp", "--set", "k=2", "--markdown")
    assert done.exit_code == 0, done.output
    assert "| lg_bp | no | 2 |" in done.stdout  # 1 by default


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_picture_is_drawn(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"audit.{ending}"
    assert call("lfnn_l", "--picture", str(file)).exit_code == 0
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    assert len(content) > 5000


def test_the_picture_has_a_legend_axes_and_claims_as_text(tmp_path: Path) -> None:
    file = tmp_path / "audit.svg"
    assert call("lg_bp", "--picture", str(file)).exit_code == 0
    shown = [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)<", file.read_text())]
    assert {"claimed", "measured", "weight transport", "update-locked"} <= set(shown)
    assert shown.count("full: the transposed weights reach it") == 1
    assert not any(text.startswith("scalar") for text in shown)  # nothing here is of that kind
    assert "columns: changed layer (gives), outputs held" in shown
    assert shown.count("update of (receives)") == 2
    assert "What was measured is what is claimed." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lfnn_l", "--picture", "a.gif"], ".svg, .png or .pdf"),
        (["lfnn_l", "--picture", "a.svg", "--markdown"], "give one"),
        (["bp", "--blocks", "0"], "0 is not in the range"),
        (["bp", "--dropout", "2"], "2.0 is not in the range"),
    ],
)
def test_a_wrong_option_has_its_message(arguments: list[str], message: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lfn"], "Unknown rule 'lfn'"),
        (["bp", "--network", "mlpp"], "Unknown network 'mlpp'"),
        (["lfnn_l", "--set", "leader=1"], "leadership"),
        (["lfnn_l", "--set", "leader=1", "--markdown"], "leadership"),
        (["bp", "--network", "cnn", "--net", "norm=layer"], "must be batch, group or none"),
        (["bp", "fa", "--network", "cnn", "--net", "norm=layer"], "must be batch, group or none"),
    ],
)
def test_a_wrong_name_has_its_message(arguments: list[str], message: str) -> None:
    done = call(*arguments)
    assert done.exception is not None
    assert message in f"{done.exception} {getattr(done.exception, 'hint', '')}"


def test_a_local_rule_on_one_block_has_the_depth_of_the_block() -> None:
    content = json.loads(call("lg_bp", "--blocks", "1", "--json").stdout)
    assert content["units"] == ["block0", "readout"]
    assert content["audit"]["backward_depth"] == {"claimed": 3, "measured": 3}
