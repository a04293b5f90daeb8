"""From a request to a configuration: defaults filled in, all checked, nothing trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lbench.config import RuleConfig
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
from lbench.task import Task
from lbench.training.cell import Budget, Cell
from lbench.training.digest import code_digest
from lbench.training.encoder import Encoder
from lbench.training.microbatch_check import check_microbatches
from lbench.training.option_effects import OptionEffects

RECIPE = "See them with: lbench run --help"
VALIDATION = 0.1
"""Share of the training set that the strict protocol holds out for validation."""


@dataclass(frozen=True)
class Request:
    """The settings that a user asked for; None means the default.

    Args:
        rule: name of the rule.
        dataset: name of the dataset.
        config: options of the rule.
        network: name of the network; None for the dataset's.
        network_options: options of the network.
        blocks: number of blocks into which the network is divided; None for its own.
        recipe: parts that differ from the rule's recipe.
        protocol: ``strict`` or ``paper``.
        epochs: budget in epochs; None for the dataset's.
        examples: budget in examples instead.
        augmentation: such as ``"crop4,flip"``; None for the dataset's, "" for none.
        precision: ``fp32`` or ``bf16``.
        data_dir: directory that is searched for data first.
        data_options: options of the dataset.
        labels: share of the training labels that is used.
        encoder: file of weights with which the network begins; None for none.
        freeze_encoder: whether the layers of that file are never trained.
        microbatch: the largest number of examples that run at once; None for whole batches.
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
    encoder: Path | None = None
    freeze_encoder: bool = False
    microbatch: int | None = None


@dataclass(frozen=True)
class Resolved:
    """A configuration with the data that it is trained on.

    Args:
        cell: the configuration, with all defaults filled in.
        dataset: the data.
        source: source of the data, with its options.
        couples: how the network couples the examples of a batch: ``none`` or ``mean``.
        idle: parts of the recipe that were asked for and have no effect beside the others, each
            with the reason and a remedy; configuration and fingerprint are the same without them.
        notes: a sentence for every other setting that was asked for and has no effect; these
            settings are part of the fingerprint, except for a microbatch.
        per_block: numbers of the rule per block, by name, such as workers and leaders.
        data_dir: directory that was searched for data first.
    """

    cell: Cell
    dataset: Dataset
    source: Source
    couples: Literal["none", "mean"]
    idle: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    per_block: Mapping[str, Sequence[float]] = field(default_factory=dict)
    data_dir: Path | None = None


def refuse_idle(idle: Mapping[str, tuple[str, str]]) -> None:
    """Refuse parts of the recipe that were asked for and have no effect.

    Args:
        idle: the parts, as in :class:`Resolved`.

    Raises:
        UsageError: there is such a part; the message has the reason, the hint the remedy.
    """
    for name, (reason, remedy) in idle.items():
        raise UsageError(f"Option {name} of the recipe cannot act: {reason}.", remedy)


def resolve(request: Request, registry: Registry) -> Resolved:
    """Return the configuration that was asked for, with its data.

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
    plain = Augmentation.parse("" if source.permuted else source.augmentation)
    requested = request.augmentation
    augmentation = plain if requested is None else Augmentation.parse(requested)
    if augmentation and source.permuted:
        raise UsageError(
            f"The augmentation {augmentation} moves pixels to neighbouring positions, but the "
            "pixels of this dataset are permuted.",
            "Train without augmentation: --augment none",
        )

    data = source.load(request.data_dir)
    if data.segments and budget.epochs is None:
        raise UsageError(
            f"Dataset {request.dataset} is a sequence: its budget is in epochs per task.",
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
        encoder=_encoder(request),
        microbatch=_microbatch(request, recipe),
    )
    rule_built = _build(cell)
    if cell.microbatch is not None:
        check_microbatches(cell, rule_built)
    effects = OptionEffects(rule, rule_built.network, cell.task)
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
        **({} if cell.microbatch is None else {"microbatch": cell.microbatch}),
        **({"labels": share} if share != 1 else {}),
        **_encoder_changes(cell.encoder),
        **{k: v for k, v in source.options().items() if v != usual.get(k)},
    }
    changes = tuple(f"{name}={_text(value)}" for name, value in shown.items())
    return Resolved(
        dataclasses.replace(cell, blocks=blocks, changes=changes),
        data,
        source,
        rule_built.network.couples,
        {name: why for name, why in idle(recipe).items() if name in request.recipe},
        [*_notes(request, recipe, rule_built), *_idle_options(request, config, effects)],
        effects.per_block(config),
        request.data_dir,
    )


def recipe_over(default: Recipe, given: Mapping[str, Any]) -> Recipe:
    """Return the default recipe with the given parts replaced.

    Raises:
        UsageError: an unknown part, or a value that does not fit.
    """
    settings = {**default.model_dump(), **given}
    return Recipe.parse(settings, what="the recipe", listing=RECIPE)


def _notes(request: Request, recipe: Recipe, rule: Rule) -> list[str]:
    """Return a sentence for each setting that was asked for and has no effect with this rule."""
    notes = []
    names = [f"net.{name}" for name in request.network_options]
    names += ["blocks"] if request.blocks is not None else []
    names += ["dropout"] if "dropout" in request.recipe and recipe.dropout else []
    if names and not _uses(rule, rule.network):
        notes.append(f"{', '.join(names)} cannot act: rule {request.rule} uses no network.")
    if request.microbatch is not None and request.microbatch >= recipe.batch:
        notes.append(f"microbatch cannot act: a batch has {recipe.batch} examples.")
    decays = any(group.weight_decay for group in rule.groups() if group.params)
    if "weight_decay" in request.recipe and recipe.weight_decay and not decays:
        notes.append(f"weight_decay cannot act: no parameter of rule {request.rule} decays.")
    return notes


def _idle_options(request: Request, config: RuleConfig, effects: OptionEffects) -> list[str]:
    """Return a sentence, with a remedy, for each option of the rule that was asked for in vain."""
    return [
        f"{effects.sentence(option, config)} {effects.remedy(option, config)}".rstrip()
        for option in request.config
        if effects.idle(config, option)
    ]


def _uses(rule: Rule, network: Network) -> bool:
    """Return whether a prediction of the rule runs any layer of the network."""
    seen: list[Layer] = []

    def tap(layer: Layer, z: Tensor) -> Tensor:
        seen.append(layer)
        return z

    rule.eval()
    try:
        with torch.no_grad(), tapped(network.layers, tap):
            rule.predict(torch.zeros(2, *rule.task.shape))
    except Exception:
        # The runs of the rule report an error in its prediction.
        return True
    return bool(seen)


def _build(cell: Cell) -> Rule:
    """Build the rule once, so that errors appear before any file is written.

    Raises:
        UsageError: the rule does not fit the network, the network does not fit into memory, or
            some parameters would never be trained.
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
            "Add it to groups(), put it into a ModuleList with one entry per block, or set "
            "requires_grad=False.",
        )
    return rule


def _encoder(request: Request) -> Encoder | None:
    """Return the encoder that was asked for.

    Raises:
        UsageError: the file cannot be read, or none is given and it is to be frozen.
    """
    if request.encoder is not None:
        return Encoder.of(request.encoder, frozen=request.freeze_encoder)
    if request.freeze_encoder:
        raise UsageError(
            "--freeze-encoder needs the weights that are kept.",
            "Add them, for example: --encoder resnet50.pth",
        )
    return None


def _encoder_changes(encoder: Encoder | None) -> dict[str, str]:
    if encoder is None:
        return {}
    return {"encoder": encoder.sha256[:8], **({"encoder_frozen": "yes"} if encoder.frozen else {})}


def _budget(request: Request, source: Source) -> Budget:
    if request.epochs is not None and request.examples is not None:
        raise UsageError("--epochs and --examples are two budgets; give one of them.")
    for flag, value in (("--epochs", request.epochs), ("--examples", request.examples)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} must be at least 1, but got {value}.")
    if request.examples is not None:
        return Budget(None, request.examples)
    return Budget(request.epochs if request.epochs is not None else source.epochs)


def _microbatch(request: Request, recipe: Recipe) -> int | None:
    """Return the size of microbatches; None if batches are not larger."""
    size = request.microbatch
    if size is not None and size < 1:
        raise UsageError(f"--microbatch must be at least 1, but got {size}.")
    return None if size is None or size >= recipe.batch else size


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
        return "+".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
