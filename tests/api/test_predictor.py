"""A loaded network predicts on raw images what its run predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lbench.api.predictor as predictor
from lbench.api.predictor import load
from lbench.api.training import run
from lbench.data.digits import Digits
from lbench.data.imagefolder import ImageFolder
from lbench.errors import DamagedError, UsageError
from tests.api.conftest import Trained

QUICK: dict[str, Any] = {"epochs": 2, "threads": 1, "progress": False, "store": False}


def raw_test_images() -> torch.Tensor:
    """Return the test images of digits without any option of the dataset."""
    return torch.from_numpy(np.array(Digits().load(None).test.images))


def saved_logits(run_dir: Path, name: str = "test_logits.npy") -> torch.Tensor:
    return torch.from_numpy(np.load(run_dir / name)).float()


@pytest.mark.parametrize(("weights", "name"), [
    ("last", "test_logits.npy"), ("best", "test_logits_best_val.npy"),
])  # fmt: skip
def test_logits_are_those_of_the_run(trained: Trained, weights: str, name: str) -> None:
    model = load(trained.lfnn, seed=1, weights=weights)
    assert isinstance(model, nn.Module)
    assert not model.training
    expected = saved_logits(trained.lfnn.run_dirs[1], name)
    torch.testing.assert_close(model(raw_test_images()), expected, rtol=2e-3, atol=2e-3)


def test_bytes_and_floats_of_an_image_give_the_same_logits(trained: Trained) -> None:
    model, images = load(trained.bp, seed=0), raw_test_images()[:5]
    assert torch.equal(model(images), model(images.float() / 255))


def test_a_run_is_named_by_its_result_its_id_or_its_directory(trained: Trained) -> None:
    images = raw_test_images()[:5]
    models = (
        load(trained.bp, seed=1),
        load("bp/digits", seed=1, home=trained.home),
        load(trained.bp.run_dirs[1]),
    )
    first, *others = [model(images) for model in models]
    assert all(torch.equal(first, other) for other in others)
    assert models[0].description["cell"] == trained.bp.cell


def test_the_network_of_a_permuted_dataset_takes_images_that_are_not_permuted(
    tmp_path: Path,
) -> None:
    result = run("bp", "digits", data={"permute": 3}, home=tmp_path, **QUICK)
    logits = load(result)(raw_test_images())
    torch.testing.assert_close(logits, saved_logits(result.run_dirs[0]), rtol=2e-3, atol=2e-3)


def test_images_are_standardised_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digits, "standardize", True)
    result = run("bp", "digits", home=tmp_path, **QUICK)
    logits = load(result)(raw_test_images())
    torch.testing.assert_close(logits, saved_logits(result.run_dirs[0]), rtol=2e-3, atol=2e-3)
    assert ImageFolder.standardize


def test_images_of_another_shape_are_refused(trained: Trained) -> None:
    model = load(trained.bp, seed=0)
    for wrong in (torch.zeros(2, 1, 9, 8), torch.zeros(1, 8, 8), torch.zeros(2, 3, 8, 8)):
        with pytest.raises(ValueError, match=r"shape \(batch, 1, 8, 8\)"):
            model(wrong)


def test_the_error_names_what_cannot_be_loaded(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several runs, seeds 0, 1"):
        load(trained.bp)
    with pytest.raises(UsageError, match="no run of seed 7"):
        load(trained.bp, seed=7)
    with pytest.raises(UsageError, match="no weights 'first'"):
        load(trained.bp, seed=0, weights="first")
    with pytest.raises(UsageError, match="is no run directory"):
        load(tmp_path)
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(UsageError, match="has not finished"):
        load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(DamagedError, match="is damaged"):
        load(tmp_path)


def test_a_rule_whose_code_has_changed_is_loaded_with_a_warning(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "code_digest", lambda cls: "other")
    with pytest.warns(UserWarning, match="code of rule bp has changed"):
        load(trained.bp, seed=0)
