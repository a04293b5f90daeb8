"""The audit of a rule: measured on a small network in float64, and compared with its claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lbench.auditing.measure import ROWS, measure
from lbench.auditing.report import Report
from lbench.auditing.rule_subject import RuleSubject
from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.frozen_encoder import with_frozen_encoder
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.randomness import Randomness
from lbench.registry import registry
from lbench.rule import Rule
from lbench.task import Task

SHAPE = (1, 3, 3)
CLASSES = 3


def audit_rule(
    rule: str | type[Rule],
    config: RuleConfig | Mapping[str, Any] | None = None,
    network: str = "mlp",
    network_options: Mapping[str, Any] | None = None,
    *,
    blocks: int | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure what a rule claims, on a small network of the family that ``network`` names.

    Args:
        rule: a rule's name, or its class.
        config: its options.
        network: a network's name.
        network_options: options of the network, except those of its size.
        blocks: number of blocks of the network; None for the network's own.
        dropout: share of activations set to 0.
        seed: seed of weights, data and noise.
        progress: called with the name of each measurement before it is made.

    Raises:
        UsageError: a name or option is unknown, or rule and network do not fit together.
    """
    cls: type[Rule] = registry().load("rules", rule) if isinstance(rule, str) else rule
    name = rule if isinstance(rule, str) else cls.__name__
    if not isinstance(config, RuleConfig):
        config = cls.Config.parse(
            config or {}, what=f"rule {name}", listing=f"See them with: lbench rules {name}"
        )
    entry = registry().find("networks", network)
    spec = network_spec(entry, registry().load("networks", network), network_options or {})
    return audit_class(
        cls,
        config,
        spec,
        name,
        network,
        blocks=blocks,
        dropout=dropout,
        seed=seed,
        progress=progress,
    )


def audit_class(
    cls: type[Rule],
    config: RuleConfig,
    spec: NetworkSpec,
    name: str,
    network: str,
    *,
    blocks: int | None = None,
    frozen: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure what a class of a rule claims, with validated options of rule and network.

    Args:
        cls: the class.
        config: its options.
        spec: options of the network.
        name: name of the rule in the report.
        network: name of the network.
        frozen: whether the network's encoder is fixed, so that the rule trains what is behind it.
        blocks: as in :func:`audit_rule`; so are ``dropout``, ``seed`` and ``progress``.
    """

    def make(small: NetworkSpec) -> Rule:
        init = Init(seed)
        built = small.build(init, SHAPE, CLASSES, dropout)
        if frozen:
            built = with_frozen_encoder(built, small)
        if blocks is not None and blocks < len(built.blocks):
            built = built.regrouped(blocks)
        return cls(built, Task("audit", SHAPE, CLASSES), config, init)

    rule, small = on_small_network(spec, make)
    randomness = Randomness(seed)
    x = randomness.draw("audit/x", 0, (2 * ROWS, *SHAPE)).double()
    order = torch.randperm(2 * ROWS, generator=randomness.generator("audit/target"))
    target = order % CLASSES
    subject = RuleSubject(rule, x, target, seed=seed, dtype=torch.float64)
    subject.name = name
    subject.check()
    claims = cls.claims(config, rule.network)
    report = measure(subject, _words(network, small), claims, progress)
    report.config = config.model_dump(mode="json")
    return report


def on_small_network(
    spec: NetworkSpec, make: Callable[[NetworkSpec], Rule]
) -> tuple[Rule, NetworkSpec]:
    """Return a rule on a small network of a family, and the options of that network.

    The small network may have layers that the run's network has not, such as fully connected ones
    behind convolutions, and the rule's options may not fit them. Where the rule refuses it, the
    small network is made without these layers, if two blocks are left.

    Args:
        spec: options of the run's network.
        make: returns the rule on the network with these options.

    Raises:
        UsageError: the rule refuses the small network.
    """
    own = spec.model_dump()
    small = type(spec)(**{**own, **spec.small})
    try:
        return make(small), small
    except UsageError:
        fewer = fewer_layers(spec)
        if not fewer:
            raise
        small = type(spec)(**{**own, **spec.small, **fewer})
        rule = make(small)
        if len(rule.network.blocks) < 2:
            raise
        return rule, small


def fewer_layers(spec: NetworkSpec) -> dict[str, tuple[Any, ...]]:
    """Return the options with an entry per layer of which a network has fewer than the small one.

    Args:
        spec: options of the network.
    """
    own = {name: getattr(spec, name) for name in spec.small}
    return {
        name: own[name]
        for name, value in spec.small.items()
        if isinstance(own[name], tuple) and len(own[name]) < len(value)
    }


def _words(network: str, spec: NetworkSpec) -> str:
    """Return a description of a network, such as ``mlp, widths 24,24,24``."""

    def value(v: Any) -> str:
        return ",".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v)

    options = [f"{key} {value(v)}" for key, v in spec.changed().items()]
    return ", ".join([network, *options])
