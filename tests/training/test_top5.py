"""The top-5 error is measured from 100 classes on, and is then wherever the test error is."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.api.run_content import describe
from lbench.data.loader import DeviceData
from lbench.report.summary import run_table
from lbench.training.evaluation import evaluate, ranks
from tests.data.published import DATASETS, TRAIN, dump
from tests.training.helper import ask, run


def test_ranks_are_those_of_a_sort() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 120, generator=generator)
    labels = torch.randint(120, (500,), generator=generator)
    order = logits.numpy().argsort(axis=1)[:, ::-1]
    expected = [list(row).index(label) for row, label in zip(order, labels.tolist(), strict=True)]
    assert ranks(logits, labels).tolist() == expected


def test_equal_logits_are_ranked_as_argmax_ranks_them() -> None:
    logits = torch.zeros(120, 120)
    assert ranks(logits, torch.arange(120)).tolist() == list(range(120))
    assert logits.argmax(1).tolist() == [0] * 120


@pytest.mark.parametrize("where", ["all", "own", "another"])
def test_a_logit_that_is_no_number_is_never_right(where: str) -> None:
    logits = torch.zeros(1, 100)
    logits[0, 3] = 1.0
    logits[0, {"all": slice(None), "own": slice(3, 4), "another": slice(7, 8)}[where]] = torch.nan
    (rank,) = ranks(logits, torch.tensor([3])).tolist()
    assert rank == {"all": 100, "own": 100, "another": 1}[where]


SMALL = {"widths": (16,)}


class Fixed:
    """A rule that predicts given logits."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def predict(self, x: Tensor) -> Tensor:
        return self.logits[x[:, 0, 0, 0].mul(255).round().long()]

    def eval(self) -> None: ...

    def train(self) -> None: ...


@pytest.mark.parametrize(("classes", "top5"), [(99, None), (100, 30.0)])
def test_it_counts_labels_behind_the_five_largest_logits(classes: int, top5: float | None) -> None:
    # The label of the first three examples has rank 5, of the next five rank 4, of the last two 0.
    logits = torch.zeros(10, classes)
    logits[:, 10:15] = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    logits[3:8, 14] = 0.0
    logits[:, 20] = 0.5
    logits[8:, 20] = 6.0
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1)
    data = DeviceData(images, torch.full((10,), 20))
    found = evaluate(Fixed(logits), data, "fp32")  # type: ignore[arg-type]
    assert found.error == 80.0
    assert found.top5 == (None if top5 is None else pytest.approx(top5))


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with images of 100 classes, of which 30 have two training images."""
    directory = DATASETS["cifar100"].written(tmp_path_factory.mktemp("data") / "files")
    path = directory / "cifar-100-python" / "train"
    batch = pickle.loads(path.read_bytes())
    dump(path, batch | {"fine_labels": [number % 30 for number in range(TRAIN)]})
    return directory


def test_a_run_has_it_with_the_last_and_the_best_weights(hundred: Path, tmp_path: Path) -> None:
    (outcome,) = run(
        tmp_path, ask(dataset="cifar100", network="mlp", network_options=SMALL, data_dir=hundred)
    )
    result = outcome.result
    labels = np.load(outcome.run_dir / "test_labels.npy").astype(int)
    for name, file in (
        ("test_error_top5", "test_logits.npy"),
        ("test_error_top5_at_best_val", "test_logits_best_val.npy"),
    ):
        logits = np.load(outcome.run_dir / file).astype(np.float32)
        five = np.argpartition(-logits, 5, axis=1)[:, :5]
        expected = 100 * float((five != labels[:, None]).all(axis=1).mean())
        assert result[name] == pytest.approx(expected, abs=100 / len(labels))
    lines = (outcome.run_dir / "metrics.jsonl").read_text().splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert result["val_error_top5"] == rows[-1]["val_error_top5"]
    assert all(row["val_error_top5"] <= row["val_error"] for row in rows)


def test_it_is_in_the_json_and_the_table_of_a_configuration(hundred: Path, tmp_path: Path) -> None:
    asked = ask(
        dataset="cifar100",
        network="mlp",
        network_options=SMALL,
        data_dir=hundred,
        epochs=1,
        protocol="paper",
    )
    outcomes = run(tmp_path, asked, seeds=2)
    content = describe(asked, outcomes)
    errors = [outcome.result["test_error_top5"] for outcome in outcomes]
    assert [run["test_error_top5"] for run in content["runs"]] == errors
    mean = sum(errors) / 2
    assert content["test_error_top5"]["mean"] == pytest.approx(mean)
    assert content["test_error_top5"]["n"] == 2
    lines = [line.split() for line in str(run_table(content)).splitlines()]
    assert ["top-5", "error", "%", f"{mean:.2f}"] in lines


def test_a_configuration_with_fewer_classes_has_none(tmp_path: Path) -> None:
    asked = ask(epochs=1)
    outcomes = run(tmp_path, asked)
    content = describe(asked, outcomes)
    assert content["test_error_top5"] is None
    assert "top-5" not in str(run_table(content))
    assert [name for name, value in outcomes[0].result.items() if "top5" in name and value] == []
    assert "top5" not in (outcomes[0].run_dir / "metrics.jsonl").read_text()
