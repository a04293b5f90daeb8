"""Files of weights: damage is noticed, and safetensors reads them without lbench."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from lbench.training.weights import LAST, read_file, read_weights, write_weights
from tests.training.helper import ask, run

STATE = {
    "whole": torch.arange(6.0).view(2, 3),
    "transposed": torch.arange(6.0).view(2, 3).T,
    "count": torch.tensor(3),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "flag": torch.tensor([True, False]),
    "none": torch.zeros(0),
    "extra": {"rounds": 2},
}


def test_reading_returns_the_written_state(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", STATE, {"seed": 3})
    state = read_weights(tmp_path / "w")
    assert state.keys() == STATE.keys()
    assert state["extra"] == {"rounds": 2}
    for name in STATE.keys() - {"extra"}:
        assert state[name].dtype == STATE[name].dtype
        assert torch.equal(state[name], STATE[name])
    assert read_file(tmp_path / "w")[1] == {"seed": 3}


def test_tied_weights_are_written_under_both_names(tmp_path: Path) -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    write_weights(tmp_path / "w", nn.Sequential(one, two).state_dict(), {})
    state = read_weights(tmp_path / "w")
    assert torch.equal(state["0.weight"], state["1.weight"])


@pytest.mark.parametrize("at", [3, 40, -1], ids=["size", "header", "data"])
def test_a_changed_byte_is_damage(tmp_path: Path, at: int) -> None:
    path = tmp_path / "w"
    write_weights(path, STATE, {"seed": 3})
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        read_weights(path)


def test_a_file_of_another_program_is_damage_and_a_missing_file_is_not(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "w")
    with pytest.raises(ValueError, match="is damaged"):
        read_weights(tmp_path / "w")
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "v")


def test_safetensors_reads_the_weights_of_a_run(tmp_path: Path) -> None:
    outcome = run(tmp_path, ask("bp", epochs=1))[0]
    state = safetensors.torch.load_file(outcome.run_dir / LAST)
    assert state["network.blocks.0.layer.affine.weight"].shape[1] == 64
    about = read_file(outcome.run_dir / LAST)[1]
    assert (about["shape"], about["classes"], about["seed"]) == ([1, 8, 8], 10, 0)
    assert about["spec"]["rule"]["name"] == "bp"
