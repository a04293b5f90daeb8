"""Which rules make the update of the whole batch from microbatches, and what docs/rules.md says."""

from __future__ import annotations

import importlib.metadata
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from lbench.errors import UsageError
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import GROUP, build
from lbench.rule import Rule
from lbench.step import Step
from lbench.training.microbatch import Microbatches
from lbench.training.microbatch_check import _difference
from lbench.training.optim import Update
from tests.plugins.small import batch_of, make
from tests.training.helper import ask

# Other tests may have added files to the registry of the process.
REGISTRY = build(importlib.metadata.entry_points(group=GROUP))
PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "cnn": {"norm": "group"},
    "resnet": {"norm": "group"},
    "mixer": {},
}
EXAMPLES, PART = 13, 5
MLP = Mlp(widths=(30, 30))
"""A network with six workers per block: with two, means of parts often choose the same leaders."""
QUICK = ("bp", "forward_forward", "brsf", "wm", "dgl", "sim", "lfnn_l", "lfnn_l_v1")
"""Rules with every kind of noise and coupling; the tests of all are slow."""
RECIPE = Recipe(optimizer="adamw", lr=0.01, weight_decay=0.1)


def table() -> dict[str, list[str]]:
    """Return the table of the page: by rule, a word per network."""
    part = PAGE.partition("<!-- microbatches -->")[2].partition("<!-- end -->")[0]
    head, _, *body = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.strip().splitlines()
    ]
    assert head == ["rule", *NETWORKS]
    return {name: words for name, *words in body}


TABLE = table()


def trained(rule: Rule, size: int) -> dict[str, torch.Tensor]:
    """Return the state after steps in parts of this size, by optimizers as in runs."""
    updates = {group.name: Update(group, RECIPE) for group in rule.groups() if group.params}
    rule.attach(updates)
    rule.train()
    microbatches = Microbatches(size)
    for index, phase in enumerate(phase for phase in rule.phases() for _ in range(3)):
        s = Step(Randomness(3), index, index // 2, phase=phase, last=index % 2 == 1)
        microbatches.step(rule, batch_of(EXAMPLES, seed=index), s)
    return {name: value.double() for name, value in rule.state_dict().items()}


def distance(name: str, options: dict[str, Any], net: NetworkSpec) -> float:
    """Return the largest difference of weights between microbatches and whole batches.

    It is relative to the largest change of any weight.
    """
    cls = REGISTRY.load("rules", name)
    rules = [make(cls, net, dropout=0.3, **options) for _ in range(3)]
    start = {key: value.double() for key, value in rules[0].state_dict().items()}
    whole, parts = trained(rules[1], EXAMPLES), trained(rules[2], PART)
    change = max(float((whole[key] - start[key]).abs().max()) for key in whole)
    assert change > 1e-4
    return max(float((parts[key] - whole[key]).abs().max()) for key in whole) / change


def equal(name: str, options: dict[str, Any], net: NetworkSpec) -> bool:
    try:
        return distance(name, options, net) <= 1e-9
    except UsageError as error:
        if "more than once" not in error.message:
            raise
        return False


def test_the_table_has_every_rule() -> None:
    assert list(TABLE) == list(REGISTRY.rules)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in TABLE]
)
def test_the_page_says_which_rules_have_the_update_of_the_whole_batch(name: str) -> None:
    assert equal(name, {}, MLP) == (TABLE[name][0] == "equal")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, words in TABLE.items() if words[2] == "equal"])
def test_the_update_is_equal_on_a_residual_network(name: str) -> None:
    assert distance(name, {}, Resnet(depth=8, width=5, norm="group")) <= 1e-9


QUICK_OPTIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("lfnn_l", {"selection": "example", "reference": "random"}, True),
    ("lfnn_l", {"selection": "random"}, False),
    ("dfa", {"reduction": "sum"}, False),
    ("bp", {"accumulate": 2}, False),
]
OPTIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("lfnn", {"selection": "example"}, True),
    ("lfnn_l_head", {"selection": "example"}, True),
    ("lfnn_l", {"selection": "example"}, True),
    ("lfnn_l", {"selection": "random", "reference": "random"}, True),
    ("lfnn_l", {"selection": "epoch"}, False),
    ("lfnn_l", {"selection": "epoch", "leadership": 1}, True),
    ("lfnn_l_rr", {"selection": "example", "workers": 5}, True),
    ("lfnn_l_v1", {"leadership": 1}, False),
    ("predsim", {"beta": 0}, True),
    ("predsim_bio", {"beta": 0}, True),
    ("drtp", {"reduction": "sum"}, False),
    ("next_attention", {"gate": True}, False),
    ("next_attention", {"order": "topdown"}, False),
    ("next_attention", {"norm": True, "q": 1.5}, True),
    ("bp", {"checkpoint": True}, True),
    ("lg_bp", {"schedule": "sequential"}, True),
    ("cwc", {"schedule": "staggered"}, True),
    ("fg_w", {"perturb_readout": True}, True),
]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [*QUICK_OPTIONS, *(pytest.param(*option, marks=pytest.mark.slow) for option in OPTIONS)],
    ids=str,
)
def test_options_are_refused_exactly_where_the_update_differs(
    name: str, options: dict[str, Any], expected: bool
) -> None:
    assert equal(name, options, MLP) == expected
    refused = pytest.raises(UsageError, match=f"would change the updates of rule {name}: ")
    with nullcontext() if expected else refused as caught:
        ask(name, config=options, network="mlp", recipe={"dropout": 0.2}, microbatch=8)
    assert caught is None or "Leave out --microbatch" in caught.value.hint


def test_a_claim_on_the_runs_network_counts_where_the_small_network_couples_nothing() -> None:
    """With leadership 0.95 all workers of the small network lead, and 25 of 26 of this one."""
    resolved = ask("lfnn_l", config={"leadership": 0.95}, network="mlp")
    assert resolved.per_block == {"workers": [26, 26], "leaders": [25, 25]}
    assert _difference(resolved.cell) is None
    with pytest.raises(UsageError, match="it couples the examples of a batch, through means"):
        ask("lfnn_l", config={"leadership": 0.95}, network="mlp", microbatch=8)


WORDS = {"means over the batch": "means", "pairs of rows": "pairs"}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_the_table_has_the_verdicts_of_runs(name: str) -> None:
    verdicts = []
    for network, options in NETWORKS.items():
        request: dict[str, Any] = {"network": network, "network_options": options}
        request["recipe"] = {"dropout": 0.2}
        try:
            ask(name, **request)
        except UsageError:
            verdicts.append("no fit")
            continue
        try:
            ask(name, **request, microbatch=8)
        except UsageError as error:
            (found,) = re.findall("|".join(WORDS), error.message)
            verdicts.append(WORDS[found])
        else:
            verdicts.append("equal")
    assert verdicts == TABLE[name]
