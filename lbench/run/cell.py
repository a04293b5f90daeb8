"""Cell: one line of a table, with everything that decides its numbers, and its fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.spec import NetworkSpec
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.task import Task

SEMANTICS = 1
"""Raised by hand when trainer, data or networks come to give other results for the same spec."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run trains: epochs, or examples."""

    epochs: int | None
    examples: int | None = None

    def as_dict(self) -> dict[str, int]:
        """The one that is given."""
        if self.epochs is not None:
            return {"epochs": self.epochs}
        return {"examples": self.examples or 0}


@dataclass(frozen=True, slots=True)
class Cell:
    """Rule, options, recipe, network and task; with a seed it is a run.

    Args:
        rule: its name.
        rule_class: its class.
        code: the digest of its code.
        config: its options.
        recipe: how it is optimised.
        network: name of the network.
        network_spec: its options.
        network_code: digest of the code of a network that is not lbench's own, else "".
        blocks: how many; None, while it is resolved, for the network's own.
        task: dataset, input shape, classes.
        data: ``digest``, ``options``, ``standardize``, ``variant`` and ``title`` of the dataset.
        protocol: ``strict`` or ``paper``.
        validation: share of the training set held out under ``strict``.
        augmentation: in canonical words.
        budget: of training.
        precision: ``fp32`` or ``bf16``.
        labels: share of the training labels that is used.
        changes: what differs from the defaults, for the readable id.
    """

    rule: str
    rule_class: type[Rule]
    code: str
    config: RuleConfig
    recipe: Recipe
    network: str
    network_spec: NetworkSpec
    network_code: str
    blocks: int | None
    task: Task
    data: dict[str, Any]
    protocol: str
    validation: float
    augmentation: str
    budget: Budget
    precision: str
    labels: float
    changes: tuple[str, ...]

    def build(self, seed: int) -> Rule:
        """The rule on its network, with the seed's initial weights.

        Raises:
            UsageError: rule and network do not fit.
        """
        init = Init(seed)
        return self.rule_class(self.build_network(init), self.task, self.config, init)

    def build_network(self, init: Init) -> Network:
        """The network, in blocks."""
        network = self.network_spec.build(
            init, self.task.shape, self.task.classes, self.recipe.dropout
        )
        return network if self.blocks is None else network.regrouped(self.blocks)

    def spec(self) -> dict[str, Any]:
        """All that the fingerprint covers but the seed, as JSON."""
        network = {
            "name": self.network,
            "options": self.network_spec.model_dump(mode="json"),
            "blocks": self.blocks,
        }
        if self.network_code:
            network["code"] = self.network_code
        return {
            "semantics": SEMANTICS,
            "rule": {
                "name": self.rule,
                "code": self.code,
                "config": self.config.model_dump(mode="json"),
            },
            "recipe": self.recipe.effective(),
            "network": network,
            "task": {
                "dataset": self.task.dataset,
                "options": self.data["options"],
                "standardize": self.data["standardize"],
                "digest": self.data["digest"],
                "protocol": self.protocol,
                "validation": self.validation,
                "augmentation": self.augmentation,
                "budget": self.budget.as_dict(),
                # Left out where it says nothing, as before there were shares.
                **({} if self.labels == 1 else {"labels": self.labels}),
            },
            "precision": self.precision,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the canonical JSON of :meth:`spec`."""
        return _hash(self.spec())

    def run_fingerprint(self, seed: int) -> str:
        """The cell's fingerprint with a seed."""
        return _hash({**self.spec(), "seed": seed})

    @property
    def id(self) -> str:
        """Readable: ``lfnn_l/mnist/mlp-275k/leadership=0.5@1a2b3c4d``."""
        parts = [self.rule, self.task.dataset, self.network]
        if self.changes:
            parts.append(",".join(self.changes))
        return f"{'/'.join(parts)}@{self.fingerprint[:8]}"

    @property
    def slug(self) -> str:
        """The name of its directory."""
        return f"{self.rule}-{self.task.dataset}-{self.network}-{self.fingerprint[:16]}"


def parse_settings(settings: Sequence[str], flag: str) -> dict[str, str]:
    """``["leadership=0.5"]`` to a dict.

    Raises:
        UsageError: an item without ``=``, or a name given twice.
    """
    parsed = {}
    for item in settings:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{flag} takes NAME=VALUE, but got {item!r}.", f"For example {flag} name=0.5"
            )
        if name.strip() in parsed:
            raise UsageError(f"{flag} {name.strip()} was given twice; give it once.")
        parsed[name.strip()] = value.strip()
    return parsed


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
