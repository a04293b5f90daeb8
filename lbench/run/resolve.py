"""From what was asked for to a cell: defaults filled in, everything checked, nothing trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lbench.data.augment import Augmentation
from lbench.data.dataset import Dataset
from lbench.data.source import Source
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer, tapped
from lbench.network import Network
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.recipe import Recipe, idle
from lbench.registry import Registry
from lbench.rule import Rule
from lbench.run.cell import Budget, Cell
from lbench.run.digest import code_digest
from lbench.task import Task

RECIPE = "See them with: lbench run --help"
VALIDATION = 0.1
"""Share of the training set that the strict protocol holds out."""


@dataclass(frozen=True)
class Request:
    """What was asked for; None means the default.

    Args:
        rule: its name.
        dataset: its name.
        config: options of the rule.
        network: its name; None for the dataset's.
        network_options: options of the network.
        blocks: how many the network is cut into; None for its own.
        recipe: what differs from the rule's recipe.
        protocol: ``strict`` or ``paper``.
        epochs: budget in epochs; None for the dataset's.
        examples: budget in examples instead.
        augmentation: such as ``"crop4,flip"``; None for the dataset's, "" for none.
        precision: ``fp32`` or ``bf16``.
        data_dir: where to look for data first.
        data_options: options of the dataset.
        labels: share of the training labels that is used.
    """

    rule: str
    dataset: str
    config: dict[str, Any] = field(default_factory=dict)
    network: str | None = None
    network_options: dict[str, Any] = field(default_factory=dict)
    blocks: int | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    protocol: str = "strict"
    epochs: int | None = None
    examples: int | None = None
    augmentation: str | None = None
    precision: str = "fp32"
    data_dir: Path | None = None
    data_options: dict[str, Any] = field(default_factory=dict)
    labels: float | str = 1.0


@dataclass(frozen=True)
class Resolved:
    """A cell with the data that it is trained on.

    Args:
        cell: with all defaults filled in.
        dataset: the data.
        source: where it was found.
        couples: how the network couples the examples of a batch: ``none`` or ``mean``.
        idle: parts of the recipe that were asked for and cannot act beside the others, each with
            its reason and its cure; the cell and its fingerprint are the same without them.
        notes: what else was asked for and cannot act, in sentences; it is part of the fingerprint.
        data_dir: where data was looked for first.
    """

    cell: Cell
    dataset: Dataset
    source: Source
    couples: Literal["none", "mean"]
    idle: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    data_dir: Path | None = None


def refuse_idle(idle: Mapping[str, tuple[str, str]]) -> None:
    """Refuse what was asked for and cannot act.

    Args:
        idle: as of :class:`Resolved`.

    Raises:
        UsageError: there is something; says why, and what mends it.
    """
    for name, (reason, cure) in idle.items():
        raise UsageError(f"Option {name} of the recipe cannot act: {reason}.", cure)


def resolve(request: Request, registry: Registry) -> Resolved:
    """The cell that was asked for.

    Raises:
        UsageError: an unknown name or option, a value out of range, or parts that do not fit.
        DataError: the data is missing or damaged.
    """
    rule: type[Rule] = registry.load("rules", request.rule)
    config = rule.Config.parse(
        request.config,
        what=f"rule {request.rule}",
        listing=f"See its options with: lbench rules {request.rule}",
    )
    dataset_entry = registry.find("datasets", request.dataset)
    network_entry = registry.find("networks", request.network or dataset_entry.network)
    network_class: type[NetworkSpec] = registry.load("networks", network_entry.name)
    spec = network_spec(network_entry, network_class, request.network_options)
    source: Source = registry.load("datasets", request.dataset)(**request.data_options)
    default = rule.recipe(Recipe(**source.recipe), request.dataset, network_entry.name)
    recipe = recipe_over(default, request.recipe)
    budget = _budget(request, source)
    share = _share(request.labels)
    plain = Augmentation.parse(source.augmentation)
    asked = request.augmentation
    augmentation = plain if asked is None else Augmentation.parse(asked)
    if augmentation and source.permuted:
        raise UsageError(
            f"The augmentation {augmentation} moves pixels among their neighbours, which permuted "
            "pixels have lost.",
            "Train without it: --augment none",
        )

    data = source.load(request.data_dir)
    if data.segments and budget.epochs is None:
        raise UsageError(
            f"Dataset {request.dataset} is a sequence: its budget is in epochs a task.",
            "Give --epochs instead of --examples.",
        )
    if augmentation:
        augmentation.check(*data.shape[1:])
    cell = Cell(
        rule=request.rule,
        rule_class=rule,
        code=code_digest(rule),
        config=config,
        recipe=recipe,
        network=network_entry.name,
        network_spec=spec,
        network_code=_network_code(network_class),
        blocks=request.blocks,
        task=Task(request.dataset, data.shape, data.num_classes),
        data={
            "title": data.title,
            "variant": data.variant,
            "digest": data.digest,
            "options": dict(source.options()),
            "standardize": source.standardize,
        },
        protocol=request.protocol,
        validation=0.0 if request.protocol == "paper" else VALIDATION,
        augmentation=str(augmentation),
        budget=budget,
        precision=request.precision,
        labels=share,
        changes=(),
    )
    rule_built = _build(cell)
    blocks = len(rule_built.network.blocks)
    own = dataclasses.replace(cell, blocks=None).build_network(Init(0)) if request.blocks else None
    usual = type(source)().options()
    shown = {
        **config.changed(),
        **spec.changed(network_class(**network_entry.preset)),
        **({"blocks": blocks} if own is not None and blocks != len(own.blocks) else {}),
        **{k: v for k, v in recipe.changed(default).items() if k in recipe.effective()},
        **(budget.as_dict() if budget != Budget(source.epochs) else {}),
        **_differing("augmentation", cell.augmentation, str(plain)),
        **_differing("protocol", cell.protocol, "strict"),
        **_differing("precision", cell.precision, "fp32"),
        **({"labels": share} if share != 1 else {}),
        **{k: v for k, v in source.options().items() if v != usual.get(k)},
    }
    changes = tuple(f"{name}={_text(value)}" for name, value in shown.items())
    return Resolved(
        dataclasses.replace(cell, blocks=blocks, changes=changes),
        data,
        source,
        rule_built.network.couples,
        {name: why for name, why in idle(recipe).items() if name in request.recipe},
        _notes(request, recipe, rule_built),
        request.data_dir,
    )


def recipe_over(default: Recipe, given: Mapping[str, Any]) -> Recipe:
    """Return a recipe with what was asked for over a default one.

    Raises:
        UsageError: an unknown part, or a value that does not fit.
    """
    settings = {**default.model_dump(), **given}
    return Recipe.parse(settings, what="the recipe", listing=RECIPE)


def _notes(request: Request, recipe: Recipe, rule: Rule) -> list[str]:
    """Say what was asked for and cannot act, whatever stands beside it, because of the rule."""
    found = []
    asked = [f"net.{name}" for name in request.network_options]
    asked += ["blocks"] if request.blocks is not None else []
    asked += ["dropout"] if "dropout" in request.recipe and recipe.dropout else []
    if asked and not _uses(rule, rule.network):
        found.append(f"{', '.join(asked)} cannot act: rule {request.rule} uses no network.")
    decays = any(group.weight_decay for group in rule.groups() if group.params)
    if "weight_decay" in request.recipe and recipe.weight_decay and not decays:
        found.append(f"weight_decay cannot act: rule {request.rule} lets nothing decay.")
    return found


def _uses(rule: Rule, network: Network) -> bool:
    """Whether a prediction of the rule runs any map of the network."""
    seen: list[Layer] = []

    def tap(layer: Layer, z: Tensor) -> Tensor:
        seen.append(layer)
        return z

    rule.eval()
    try:
        with torch.no_grad(), tapped(network.layers, tap):
            rule.predict(torch.zeros(2, *rule.task.shape))
    except Exception:
        # What is wrong with its prediction is for its runs to tell.
        return True
    return bool(seen)


def _build(cell: Cell) -> Rule:
    """Builds the rule once, to find whatever does not fit before anything is written.

    Raises:
        UsageError: rule and network do not fit, the network is too large for the memory, or
            parameters would never be trained.
    """
    try:
        rule = cell.build(seed=0)
    except (MemoryError, RuntimeError) as error:
        large = "memory" in str(error) or "overflow" in str(error)
        if isinstance(error, RuntimeError) and not large:
            raise
        raise UsageError(
            f"Network {cell.network} with these options does not fit into memory.",
            f"See its options with: lbench networks {cell.network}",
        ) from None
    grouped = {id(p) for group in rule.groups() for p in group.params.values()}
    lost = [n for n, p in rule.named_parameters() if p.requires_grad and id(p) not in grouped]
    if lost:
        raise UsageError(
            f"Rule {cell.rule} would never train {', '.join(lost)}: in none of its groups.",
            "Add it to groups(), make it the entry of a ModuleList with one entry a block, or set "
            "requires_grad=False.",
        )
    return rule


def _budget(request: Request, source: Source) -> Budget:
    if request.epochs is not None and request.examples is not None:
        raise UsageError("--epochs and --examples are two budgets; give one of them.")
    for flag, value in (("--epochs", request.epochs), ("--examples", request.examples)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} must be at least 1, but got {value}.")
    if request.examples is not None:
        return Budget(None, request.examples)
    return Budget(request.epochs if request.epochs is not None else source.epochs)


def _share(labels: float | str) -> float:
    try:
        share = 0.0 if isinstance(labels, bool) else round(float(labels), 12)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(
            f"--labels must be a share above 0 and at most 1, but got {labels}.",
            "1 % of the training labels: --labels 0.01",
        )
    return share


def _network_code(cls: type[NetworkSpec]) -> str:
    own = cls.__module__.partition(".")[0] == "lbench"
    return "" if own else code_digest(cls)


def _differing(name: str, value: str, default: str) -> dict[str, str]:
    return {} if value == default else {name: value or "none"}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(_text(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
