"""A rule that refuses a network names an option that this network really has."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from lbench.errors import MisfitError, UsageError
from lbench.init import Init
from lbench.rule import GradientRule
from lbench.task import Batch
from tests.training.helper import ask

DEEP: dict[str, Any] = {"network": "mlp-deep", "network_options": {"width": 20, "depth": 1}}
NARROW: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (12,)},
    "mlp-deep": {"width": 12, "depth": 1},
    "cnn": {"widths": (12,)},
    "lenet": {"widths": (12, 20, 20, 20)},
    "vgg": {"widths": (12,), "pools": (), "hidden": (20,)},
    "resnet8": {"width": 12},
    "resnet18": {"width": 12, "stages": (1, 1)},
    "mixer": {"channels": 12, "patches": 4},
    "vit-tiny": {"channels": 12, "heads": 2, "depth": 1, "patch": 4},
    "convnext-tiny": {"stages": (1,), "widths": (12,)},
}
"""Networks with a block of width 12, which is not a multiple of ten classes."""


@pytest.mark.parametrize("network", NARROW)
def test_the_hint_for_a_narrow_block_names_an_option_of_its_network(network: str) -> None:
    options = NARROW[network]
    with pytest.raises(MisfitError, match="has width 12, which is not a multiple") as raised:
        ask("lfnn_l", network=network, network_options=options)
    found = re.search(r"With network (\S+): --net (\w+)=(\S+)$", raised.value.hint)
    assert found is not None, raised.value.hint
    assert found[1] == network
    value = options[found[2]]
    whole = isinstance(value, int)
    widened = 20 if whole else (20, *value[1:])
    assert found[3] == ("20" if whole else "…,20,…")
    ask("lfnn_l", network=network, network_options={**options, found[2]: widened})


def test_the_hint_for_a_fully_connected_layer_names_the_option_of_these_layers() -> None:
    options = {"widths": (20,), "pools": (), "hidden": (12,)}
    with pytest.raises(MisfitError, match="'fc1' has width 12") as raised:
        ask("lfnn_l", network="vgg", network_options=options)
    assert raised.value.hint.endswith("With network vgg: --net hidden=…,20,…")


class Picky(GradientRule):
    """A rule that refuses every network, with a hint that names an option."""

    def build(self, init: Init) -> None:
        raise UsageError("Picky takes no network.", "Give --net widths=100.")

    def loss(self, batch: Batch, s: Any) -> torch.Tensor:
        raise NotImplementedError


class Wanting(Picky):
    """A rule whose hint wants an option, whatever its name is."""

    def build(self, init: Init) -> None:
        raise MisfitError("Too narrow.", "Choose a larger width.", {"widths": "100"})


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        (Picky, "Give --net widths=100. But network mlp-deep has no option widths. Options of the"),
        (Wanting, "Choose a larger width. Options of the network: lbench networks mlp-deep"),
    ],
)
def test_a_hint_that_names_no_option_of_the_network_says_where_they_are_listed(
    rule: type[Picky], hint: str
) -> None:
    cell = dataclasses.replace(ask(**DEEP).cell, rule_class=rule)
    with pytest.raises(MisfitError) as raised:
        cell.build(0)
    assert raised.value.hint.startswith(hint)
    assert raised.value.hint.endswith("lbench networks mlp-deep")


def test_a_hint_that_names_an_option_of_the_network_stays_as_it_is() -> None:
    cell = dataclasses.replace(ask(network="mlp").cell, rule_class=Picky)
    with pytest.raises(MisfitError) as raised:
        cell.build(0)
    assert raised.value.hint == "Give --net widths=100."


@pytest.mark.parametrize(
    ("network", "options", "remedy"),
    [
        ("cnn", {"widths": (12,)}, "--set workers=5, which pools"),
        ("mlp", {"widths": (32,)}, "--set workers=3 --set forward=relu, which pools"),
        ("mlp", {"widths": (19,)}, "choose rule lfnn_l_rr, whose workers may have any size"),
    ],
)
def test_the_hint_names_only_pooled_workers_that_the_block_has_room_for(
    network: str, options: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(MisfitError) as raised:
        ask("lfnn_l", network=network, network_options=options)
    assert remedy in raised.value.hint
    if given := re.search(r"workers=(\d)", remedy):
        config = {"workers": int(given[1]), "forward": "relu"}
        ask("lfnn_l", network=network, network_options=options, config=config)
