"""A network begins with the weights of a file, which its rule trains on or leaves as they are."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import lbench
from lbench.data.digits import Digits
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.frozen_encoder import Encoded, FixedNorm
from lbench.networks.given_weights import fill
from lbench.networks.imagenet_resnet import ImagenetResnet
from lbench.networks.weight_file import read
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Batch
from lbench.training.optim import Update
from tests.training.helper import ask, run

OPTIONS = {"width": 4, "stages": (1, 1), "hidden": (20, 20)}


def state_dict(seed: int = 7) -> dict[str, Tensor]:
    """Return weights of a network for digits, by torchvision's names, with 1000 classes."""
    spec = ImagenetResnet(width=4, stages=(1, 1))
    network = spec.build(Init(seed), (1, 8, 8), 1000)
    state, generator = {}, torch.Generator().manual_seed(seed)
    for name, module in [*((la.name, la) for la in network.layers), ("readout", network.readout)]:
        for own, tensor in [*module.named_parameters(), *module.named_buffers()]:
            (given,) = spec.weight_names(name, own)
            noise = 0.1 * torch.rand(tensor.shape, generator=generator)
            state[given] = (tensor + noise if tensor.is_floating_point() else tensor).detach()
    return state


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(state_dict(), path)
    return path


def request(file: Path | None, rule: str = "bp", **changes: Any) -> Any:
    return ask(rule, network="resnet18", network_options=OPTIONS, encoder=file, **changes)


# The configuration


def test_the_content_of_the_file_is_part_of_the_configuration(file: Path, tmp_path: Path) -> None:
    cell = request(file).cell
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert cell.spec()["network"]["encoder"] == {"sha256": digest, "trained": True}
    assert f"encoder={digest[:8]}" in cell.id
    moved = shutil.copy(file, tmp_path / "elsewhere.pth")
    torch.save(state_dict(seed=8), other := tmp_path / "other.pth")
    frozen = request(file, freeze_encoder=True).cell
    assert request(moved).cell.fingerprint == cell.fingerprint
    prints = {c.fingerprint for c in (cell, frozen, request(other).cell, request(None).cell)}
    assert len(prints) == 4
    assert "encoder" not in request(None).cell.spec()["network"]


def test_a_file_that_has_changed_since_it_was_read_is_an_error(tmp_path: Path) -> None:
    torch.save(state_dict(), path := tmp_path / "a.pth")
    cell = request(path).cell
    torch.save(state_dict(seed=8), path)
    with pytest.raises(UsageError, match="has changed"):
        cell.build(seed=0)


# Training


@pytest.mark.parametrize("blocks", [None, 2])
def test_the_encoder_begins_with_the_files_weights_and_the_rest_with_its_own(
    file: Path, blocks: int | None
) -> None:
    given, network = state_dict(), request(file, blocks=blocks).cell.build(seed=3).network
    plain = request(None, blocks=blocks).cell.build(seed=3).network
    layers = {layer.name: layer for layer in network.layers}
    assert torch.equal(layers["layer2.0.conv1"].affine.weight, given["layer2.0.conv1.weight"])
    norm: Any = layers["layer2.0.downsample.0"].norm
    assert torch.equal(norm.running_var, given["layer2.0.downsample.1.running_var"])
    for layer in plain.layers[-2:]:
        assert torch.equal(layers[layer.name].affine.weight, layer.affine.weight)
    assert torch.equal(network.readout.linear.weight, plain.readout.linear.weight)


@pytest.mark.parametrize("rule_name", ["bp", "dfa", "lfnn_l", "predsim"])
def test_a_frozen_encoder_is_fixed_and_everything_behind_it_learns(
    file: Path, rule_name: str
) -> None:
    rule = request(file, rule_name, freeze_encoder=True).cell.build(seed=0)
    assert [layer.name for layer in rule.network.layers] == ["hidden1", "hidden2"]
    assert rule.network.couples == "none"
    before = {name: value.clone() for name, value in rule.state_dict().items()}
    rule.attach({g.name: Update(g, request(file).cell.recipe) for g in rule.groups()})
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for index in range(2):
        rule.train().step(Batch(x, torch.arange(20) % 10), Step(Randomness(0), index))
    still = {name for name, value in rule.state_dict().items() if torch.equal(value, before[name])}
    encoder = {name for name in before if ".encoder." in name}
    assert encoder
    assert encoder <= still
    assert not {name for name, p in rule.named_parameters() if p.requires_grad} & still


def test_a_frozen_encoder_computes_what_it_computes_in_evaluation(file: Path) -> None:
    spec = ImagenetResnet(width=4, stages=(1, 1))
    whole = spec.build(Init(0), (1, 8, 8), 1000)
    fill(whole, spec, state_dict(), readout=True)
    x, h = torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8)
    h = x
    for block in whole.eval().blocks:
        h = block(h)
    frozen = request(file, freeze_encoder=True).cell.build(seed=0).network.train()
    first: Any = frozen.blocks[0]
    assert isinstance(first, Encoded)
    expected = first.block.layer.affine(h.mean((2, 3)))
    torch.testing.assert_close(first.preactivation(x, Step(Randomness(0))), expected)


@pytest.mark.parametrize("norm", [
    nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm1d(3),
    nn.BatchNorm2d(3, track_running_stats=False, affine=False),
])  # fmt: skip
def test_a_fixed_norm_is_batch_norm_in_evaluation(norm: Any) -> None:
    x = torch.randn(6, 3, 2, 2) if isinstance(norm, nn.BatchNorm2d) else torch.randn(6, 3)
    if norm.track_running_stats:
        norm(2 * x + 1)
        torch.testing.assert_close(FixedNorm(norm).train()(x), norm.eval()(x))
    else:
        torch.testing.assert_close(FixedNorm(norm)(x), x / (1 + norm.eps) ** 0.5)


def test_a_run_on_a_frozen_encoder_is_recorded_and_can_be_loaded(
    file: Path, tmp_path: Path
) -> None:
    resolved = request(file, "lfnn_l", freeze_encoder=True, epochs=1)
    (outcome,) = run(tmp_path, resolved)
    assert outcome.result["status"] == "finished"
    spec = json.loads((outcome.run_dir / "spec.json").read_text())["spec"]
    assert spec["network"]["encoder"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    images = torch.from_numpy(np.array(Digits().load(None).test.images))
    saved = torch.from_numpy(np.load(outcome.run_dir / "test_logits.npy")).float()
    torch.testing.assert_close(lbench.load(outcome.run_dir)(images), saved, rtol=2e-3, atol=2e-3)


# What is refused


@pytest.mark.parametrize("rule", ["softhebb", "frozen"])
def test_a_rule_with_initial_weights_of_its_own_is_refused(file: Path, rule: str) -> None:
    with pytest.raises(UsageError, match=f"rule {rule} begins with other weights") as refused:
        request(file, rule)
    assert "--freeze-encoder" in refused.value.hint
    assert request(file, rule, freeze_encoder=True).cell.frozen_encoder


def test_all_that_differs_is_listed(file: Path, tmp_path: Path) -> None:
    state = state_dict()
    state["layer9.0.conv1.weight"] = state.pop("layer1.0.conv2.weight")
    state["conv1.weight"] = torch.zeros(4, 3, 7, 7)
    torch.save(state, path := tmp_path / "other.pth")
    with pytest.raises(UsageError) as refused:
        request(path)
    message = refused.value.message
    assert "The file has no: layer1.0.conv2.weight." in message
    assert "Of another shape are: conv1.weight (4x3x7x7, not 4x1x3x3)." in message
    assert "The network has no: layer9.0.conv1.weight." in message
    network = ImagenetResnet(**OPTIONS).build(Init(0), (1, 8, 8), 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UsageError):
        fill(network, ImagenetResnet(**OPTIONS), state)
    assert all(torch.equal(before[n], value) for n, value in network.state_dict().items())


def test_long_lists_are_cut(file: Path) -> None:
    with pytest.raises(UsageError, match=r"The file has no: .* and \d+ more\."):
        ask(network="resnet50", encoder=file)


def test_a_frozen_encoder_needs_a_file_and_layers_behind_it(file: Path) -> None:
    with pytest.raises(UsageError, match="needs the weights"):
        request(None, freeze_encoder=True)
    with pytest.raises(UsageError, match="no block left") as refused:
        ask(network="resnet18", network_options={**OPTIONS, "hidden": ()}, encoder=file,
            freeze_encoder=True)  # fmt: skip
    assert "--net hidden" in refused.value.hint


# Files


def test_files_may_be_safetensors_wrapped_and_prefixed(file: Path, tmp_path: Path) -> None:
    state = read(file)
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": v for n, v in state.items()}},
               tmp_path / "b.pth")  # fmt: skip
    for name in ("a.safetensors", "b.pth"):
        other = read(tmp_path / name)
        assert sorted(other) == sorted(state)
        assert all(torch.equal(other[key], value) for key, value in state.items())


class Code:
    """A value whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


@pytest.mark.parametrize("case", ["missing", "text", "empty", "list", "number", "directory",
                                  "text.safetensors", "code"])  # fmt: skip
def test_a_file_without_a_state_dict_is_refused_by_name(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / case
    if case.startswith("text"):
        path.write_text("weights")
    elif case == "empty":
        path.touch()
    elif case == "directory":
        path.mkdir()
    elif case == "code":
        torch.save({"conv1.weight": Code()}, path)
    elif case in ("list", "number"):
        torch.save([torch.zeros(1)] if case == "list" else {"epoch": 3}, path)
    with pytest.raises(UsageError) as refused:
        request(path)
    assert case in refused.value.message
    assert refused.value.hint
    assert "code ran" not in capsys.readouterr().out
