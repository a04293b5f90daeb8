"""A configuration: everything that decides the numbers of a run except the seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lbench.config import RuleConfig
from lbench.errors import MisfitError, UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.frozen_encoder import with_frozen_encoder
from lbench.networks.given_weights import fill
from lbench.networks.spec import NetworkSpec
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.task import Task
from lbench.training.encoder import Encoder

SEMANTICS = 1
"""Increased by hand when trainer, data or networks give other results for the same spec."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The length of a run's training: in epochs, or in examples."""

    epochs: int | None
    examples: int | None = None

    def as_dict(self) -> dict[str, int]:
        """Return the budget under its name, ``epochs`` or ``examples``."""
        if self.epochs is not None:
            return {"epochs": self.epochs}
        return {"examples": self.examples or 0}


@dataclass(frozen=True, slots=True)
class Cell:
    """A configuration: rule, options, recipe, network and task. With a seed it is a run.

    Args:
        rule: name of the rule.
        rule_class: class of the rule.
        code: digest of the rule's code.
        config: options of the rule.
        recipe: optimizer, learning rate, schedule, batch size.
        network: name of the network.
        network_spec: options of the network.
        network_code: digest of the code of a network that is not lbench's own, else "".
        blocks: number of blocks; None stands for the network's own until it is resolved.
        task: dataset, input shape, classes.
        data: ``digest``, ``options``, ``standardize``, ``variant`` and ``title`` of the dataset.
        protocol: ``strict`` or ``paper``.
        validation: share of the training set held out under ``strict``.
        augmentation: the augmentation as canonical text, such as ``"crop4,flip"``.
        budget: length of the training.
        precision: ``fp32`` or ``bf16``.
        labels: share of the training labels that is used.
        changes: settings that differ from the defaults, for the readable id.
        encoder: the weights with which the network begins; None for initial values alone.
        microbatch: the largest number of examples that run at once, if batches are larger; None
            for whole batches.
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
    encoder: Encoder | None = None
    microbatch: int | None = None

    def build(self, seed: int) -> Rule:
        """Return the rule on its network, with the seed's initial weights or the given ones.

        Raises:
            MisfitError: the rule does not fit the network.
            UsageError: the network's options do not fit the task, or the given weights do not fit.
        """
        init, given = Init(seed), self._given()
        network = self.build_network(init, given)
        try:
            rule = self.rule_class(network, self.task, self.config, init)
        except UsageError as error:
            raise self._misfit(error) from error
        if self.encoder is not None and given is not None:
            self.encoder.check_kept(rule, self.rule, self.network_spec, given)
        return rule

    def _misfit(self, error: UsageError) -> MisfitError:
        """Return a rule's refusal with a hint that names options of this network alone."""
        wanted = error.options if isinstance(error, MisfitError) else {}
        known = type(self.network_spec).model_fields
        flags = [f"--net {name}={value}" for name, value in wanted.items() if name in known]
        named = dict.fromkeys(re.findall(r"--net (\w+)=", error.hint))
        lacking = [name for name in named if name not in known]
        more = ""
        if flags:
            more = f"With network {self.network}: {flags[0]}"
        elif lacking:
            more = f"But network {self.network} has no option {' or '.join(lacking)}."
        if (wanted or lacking) and not flags:
            more = f"{more} Options of the network: lbench networks {self.network}".lstrip()
        return MisfitError(error.message, f"{error.hint} {more}".strip())

    def build_network(self, init: Init, given: Mapping[str, Tensor] | None = None) -> Network:
        """Return the network, regrouped into the configuration's number of blocks.

        Args:
            init: draws the initial weights.
            given: weights for the encoder; None for initial values.

        Raises:
            UsageError: the weights do not fit, or there are fewer blocks.
        """
        return build_network(
            self.network_spec, init, self.task, self.recipe.dropout, self.blocks,
            given=given, frozen=self.frozen_encoder,
        )  # fmt: skip

    @property
    def frozen_encoder(self) -> bool:
        """Return whether the network's encoder is never trained."""
        return self.encoder is not None and self.encoder.frozen

    @property
    def examples_at_once(self) -> int:
        """Return the number of examples of a step that run at once."""
        return self.microbatch or self.recipe.batch

    def _given(self) -> dict[str, Tensor] | None:
        return None if self.encoder is None else self.encoder.read()

    def spec(self) -> dict[str, Any]:
        """Return all that the fingerprint covers except the seed, as JSON."""
        network = {
            "name": self.network,
            "options": self.network_spec.model_dump(mode="json"),
            "blocks": self.blocks,
        }
        if self.network_code:
            network["code"] = self.network_code
        if self.encoder is not None:
            network["encoder"] = self.encoder.spec()
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
                # Left out if all labels are used, so that older fingerprints stay valid.
                **({} if self.labels == 1 else {"labels": self.labels}),
            },
            "precision": self.precision,
            # Left out without, like the share of labels.
            **({} if self.microbatch is None else {"microbatch": self.microbatch}),
        }

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the canonical JSON of :meth:`spec`."""
        return _hash(self.spec())

    def run_fingerprint(self, seed: int) -> str:
        """Return the fingerprint of the run with this seed."""
        return _hash({**self.spec(), "seed": seed})

    @property
    def id(self) -> str:
        """Return the readable id: ``lfnn_l/mnist/mlp-275k/leadership=0.5@1a2b3c4d``."""
        parts = [self.rule, self.task.dataset, self.network]
        if self.changes:
            parts.append(",".join(self.changes))
        return f"{'/'.join(parts)}@{self.fingerprint[:8]}"

    @property
    def slug(self) -> str:
        """Return the name of the configuration's directory."""
        return f"{self.rule}-{self.task.dataset}-{self.network}-{self.fingerprint[:16]}"


def build_network(
    spec: NetworkSpec,
    init: Init,
    task: Task,
    dropout: float,
    blocks: int | None,
    *,
    given: Mapping[str, Tensor] | None = None,
    frozen: bool = False,
) -> Network:
    """Return a network, regrouped into a number of blocks; None for its own blocks.

    Args:
        spec: the network's family and options.
        init: draws the initial weights.
        task: the shape of images and the number of classes.
        dropout: share of each block's activations that is set to 0 in training.
        blocks: the number of blocks.
        given: weights for the encoder; None for initial values.
        frozen: whether the encoder is never trained.
    """
    network = spec.build(init, task.shape, task.classes, dropout)
    if given is not None:
        fill(network, spec, given)
    if frozen:
        network = with_frozen_encoder(network, spec)
    return network if blocks is None else network.regrouped(blocks)


def parse_settings(settings: Sequence[str], flag: str) -> dict[str, str]:
    """Return settings such as ``["leadership=0.5"]`` as a dictionary.

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
