"""The embedded digits are those of scikit-learn, with a stratified test set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lbench.data.digits import Digits


def test_digits_need_no_file_and_no_cache(own_caches: Path) -> None:
    data = Digits().load("/")
    assert (data.title, data.variant, data.shape) == ("Digits (8x8)", "embedded", (1, 8, 8))
    assert (len(data.train), len(data.test), data.num_classes) == (1438, 359, 10)
    assert data.notes == (), "no test image is a training image"
    assert not own_caches.exists()
    assert data.digest == "94b57afd004b5f7a7fe153bcd8c097aa56d2d346155478eae0ad1104c404b1db"


def test_digits_test_set_is_stratified() -> None:
    data = Digits().load()
    test, train = (np.bincount(split.labels) for split in (data.test, data.train))
    assert test.tolist() == [round(0.2 * n) for n in (test + train).tolist()]


def test_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    theirs = datasets.load_digits()
    data = Digits().load()
    ours = np.concatenate([data.train.images, data.test.images])[:, 0]
    labels = np.concatenate([data.train.labels, data.test.labels])
    expected = [(np.round(i * 255 / 16).astype(np.uint8).tobytes(), int(t))
                for i, t in zip(theirs.images, theirs.target, strict=True)]  # fmt: skip
    assert sorted(expected) == sorted(
        (i.tobytes(), int(t)) for i, t in zip(ours, labels, strict=True)
    )
