from __future__ import annotations

import pytest

from lbench.errors import UsageError
from lbench.store.names import matching, one

CELLS = {
    "1a2b3c": "bp/cifar10/cnn@1a2b3c",
    "1a2fff": "bp/cifar10-jpeg/cnn@1a2fff",
    "9e8d7c": "lfnn_l/mnist/mlp-275k/leadership=0.7@9e8d7c",
    "fa0000": "lfnn_l/mnist/mlp-275k/leadership=0.5@fa0000",
    "77aa77": "fa/mnist/mlp-275k@77aa77",
}


@pytest.mark.parametrize(
    ("prefix", "fingerprint"),
    [
        ("bp/cifar10/cnn@1a2b3c", "1a2b3c"),
        ("bp/cifar10", "1a2b3c"),
        ("bp/cifar10-", "1a2fff"),
        ("lfnn_l/mnist/mlp-275k/leadership=0.7", "9e8d7c"),
        ("lfnn_l/mnist/mlp-275k/leadership=0.5@fa", "fa0000"),
        ("@9e", "9e8d7c"),
        ("lfnn_l/mnist/mlp-275k/blocks=2,leadership=0.7@9e8d7c", "9e8d7c"),
        ("lfnn_l/mnist@9e8d", "9e8d7c"),
        ("9e8d", "9e8d7c"),
        ("fa", "77aa77"),
        ("fa/", "77aa77"),
    ],
)
def test_a_prefix_means_one_configuration(prefix: str, fingerprint: str) -> None:
    assert one(CELLS, prefix) == fingerprint


def test_a_rule_alone_means_all_its_configurations() -> None:
    assert matching(CELLS, "lfnn_l") == ["9e8d7c", "fa0000"]


def test_an_ambiguous_prefix_names_the_candidates() -> None:
    with pytest.raises(UsageError, match="means 2 configurations") as error:
        one(CELLS, "lfnn_l/mnist")
    assert CELLS["9e8d7c"] in error.value.message
    assert CELLS["fa0000"] in error.value.message


@pytest.mark.parametrize("prefix", ["@zz", "1a", "unknown", "@", "bp/mnist/mlp@9e8d7c"])
def test_an_unknown_or_ambiguous_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError):
        one(CELLS, prefix)
