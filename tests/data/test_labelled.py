"""The share of the labels is stratified, nested and the same for every rule."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lbench.data.digits import Digits
from lbench.data.parts import parts
from lbench.data.split import labelled
from lbench.errors import UsageError
from tests.training.helper import ask, lbench_run, run

LABELS = np.repeat(np.arange(4), [200, 90, 11, 1]).astype(np.int64)
SHARES = [0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.77, 1]


@pytest.mark.parametrize("share", SHARES)
def test_a_share_is_taken_of_each_class(share: float) -> None:
    chosen = labelled(LABELS, share, "abc")
    assert (np.diff(chosen) > 0).all()
    expected = [max(round(share * n), 1) for n in (200, 90, 11, 1)]
    assert np.bincount(LABELS[chosen]).tolist() == expected


def test_smaller_shares_are_within_larger_ones() -> None:
    chosen = [set(labelled(LABELS, share, "abc").tolist()) for share in SHARES]
    assert all(small <= large for small, large in itertools.pairwise(chosen))


def test_the_choice_depends_on_the_digest_and_nothing_else() -> None:
    first, again, other = (labelled(LABELS, 0.03, d).tolist() for d in ("abc", "abc", "abd"))
    # Fixed values: another choice would change every run with a share of the labels.
    assert first == again == [38, 40, 118, 142, 147, 159, 216, 229, 280, 298, 301]
    assert first != other


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match=str(share)):
        labelled(LABELS, share, "abc")


def test_the_share_is_taken_after_the_holdout() -> None:
    data = Digits().load()
    all_labels = parts(data, 0.1, standardize=False)
    few = parts(data, 0.1, 0.05, standardize=False)
    assert few.validation is not None
    assert all_labels.validation is not None
    assert few.validation.images.equal(all_labels.validation.images)
    assert len(few.training) == pytest.approx(0.05 * len(all_labels.training), abs=5)
    known = {image.numpy().tobytes() for image in all_labels.training.images}
    assert all(image.numpy().tobytes() in known for image in few.training.images)


GOLDEN = {
    "2de5dbab676b8f9967aa32b0459d6e6f05a65bba42a0b6ce55f49cafdf0065fd": {},
    "5f7c8bfb65534e285da0808e3eefda958915cbf752c6a0c8bcabb8bd35f059ca": {
        "protocol": "paper",
        "examples": 3000,
        "augmentation": "translate1",
        "network": "cnn",
        "network_options": {"widths": "20,20"},
        "recipe": {"optimizer": "sgd"},
    },
}


@pytest.mark.parametrize("golden", GOLDEN)
def test_all_labels_leave_fingerprints_without_the_option_as_they_were(golden: str) -> None:
    changes: dict[str, Any] = GOLDEN[golden]
    for labels in ({}, {"labels": 1.0}, {"labels": "1"}):
        spec = ask("bp", **changes, **labels).cell.spec()
        # The rule's code may change; the form of a spec may not.
        spec["rule"]["code"] = ""
        text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == golden


def test_a_share_is_in_the_fingerprint_the_id_and_the_json(tmp_path: Path) -> None:
    cell = ask(labels="0.01").cell
    assert cell.spec()["task"]["labels"] == 0.01
    assert ",labels=0.01@" in cell.id
    assert ask(labels=0.010000000000000002).cell.id == cell.id
    assert ask(labels=0.05).cell.fingerprint != cell.fingerprint
    printed = lbench_run(
        "--rule", "bp", "--dataset", "digits", "--labels", "0.1", "--epochs", "2", "--no-store",
        home=tmp_path,
    )  # fmt: skip
    assert printed["labels"] == 0.1


@pytest.mark.parametrize("labels", ["0", "1.5", "-1", "many", "nan"])
def test_a_wrong_flag_is_refused(labels: str) -> None:
    with pytest.raises(UsageError, match=f"--labels must be a share .* got {labels}"):
        ask(labels=labels)


def test_epochs_shrink_with_the_labels_and_examples_do_not(tmp_path: Path) -> None:
    requests: dict[str, dict[str, Any]] = {
        "all": {"epochs": 2},
        "few": {"epochs": 2, "labels": 0.1},
        "all equal": {"examples": 640},
        "few equal": {"examples": 640, "labels": 0.1},
    }
    runs = {n: run(tmp_path, ask(**changes))[0].result for n, changes in requests.items()}
    assert runs["all"]["steps"] == 2 * 41
    assert runs["few"]["steps"] == 2 * 5
    assert runs["all equal"]["steps"] == 20
    # An epoch has 129 examples, and its last batch has one.
    assert runs["few equal"]["steps"] == 4 * 5 + 4
    assert runs["few"]["test_error"] > runs["all"]["test_error"]
