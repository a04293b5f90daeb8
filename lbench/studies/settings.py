"""Conversion of settings by name to a request for a run and to command-line options."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbench.config import has_type
from lbench.errors import UsageError, unknown
from lbench.recipe import Recipe, idle
from lbench.registry import Registry
from lbench.studies.definition import Point
from lbench.training.resolve import RECIPE, Request, recipe_over

ENCODER = "encoder"
"""Setting with the path of a file of weights."""
FREEZE = "freeze_encoder"
"""Setting that keeps these weights."""
TASK = {
    "epochs": "epochs",
    "examples": "examples",
    "labels": "labels",
    "blocks": "blocks",
    "augment": "augmentation",
    "precision": "precision",
    "microbatch": "microbatch",
    ENCODER: "encoder",
    FREEZE: "freeze_encoder",
}
"""Settings of the task, with the names of the fields of ``Request``."""
EQUAL = "equal"
"""Setting for the budget that the runs of all rules share: ``epochs`` (default) or ``flops``."""
WHOLE = ("epochs", "examples", "blocks", "microbatch")
NUMBERS: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(WHOLE, (int, "a whole number")),
    "labels": (float, "a number"),
}
"""Numeric settings of the task: their type and its name in messages."""
BOOLEANS = {"true": True, "false": False}
"""Values of a switch, as text."""
CHOICES = {"precision": ("fp32", "bf16"), EQUAL: ("epochs", "flops")}


def check_settings(
    rule: str, names: Mapping[str, Any] | tuple[str, ...], registry: Registry
) -> None:
    """Check that each name is an option of the rule, a part of the recipe or of the task.

    Names of options of the network and the dataset are checked when these are resolved.

    Raises:
        UsageError: a name is unknown. The message has the most similar name.
    """
    options = registry.load("rules", rule).Config.model_fields
    known = [*options, *Recipe.model_fields, *TASK, EQUAL]
    for name in names:
        if name not in known and not name.startswith(("net.", "data.")):
            raise unknown(
                f"setting of rule {rule}",
                name,
                known,
                listing=f'See its options with: lbench rules {rule}; "net.NAME" is an option of '
                'the network, "data.NAME" of the dataset, both in quotes.',
            )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Settings sorted by their owner, under the owner's names of them."""

    rule: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)


def _parts(rule: str, settings: Mapping[str, Any], registry: Registry) -> _Parts:
    check_settings(rule, settings, registry)
    options = registry.load("rules", rule).Config.model_fields
    parts = _Parts()
    for name, value in settings.items():
        if name in options:
            parts.rule[name] = value
        elif name in Recipe.model_fields:
            parts.recipe[name] = value
        elif name.startswith("net."):
            parts.network[name.removeprefix("net.")] = value
        elif name.startswith("data."):
            parts.data[name.removeprefix("data.")] = value
        else:
            parts.task[name] = value
    return parts


def check_types(point: Point, registry: Registry) -> None:
    """Check that the settings in a file have the types of their options: no text for a number.

    Raises:
        UsageError: a setting is unknown, or its value has the wrong type.
    """
    parts = _parts(point.rule, point.settings, registry)
    config = registry.load("rules", point.rule).Config
    listing = f"See its options with: lbench rules {point.rule}"
    config.check_types(parts.rule, what=f"rule {point.rule}", listing=listing)
    Recipe.check_types(parts.recipe, what="the recipe", listing=RECIPE)
    listing = f"See its options with: lbench networks {point.network}"
    spec = registry.load("networks", point.network)
    spec.check_types(parts.network, what=f"network {point.network}", listing=listing)
    for name, value in parts.data.items():
        if isinstance(value, (list, dict)) or (isinstance(value, str) and value.isdecimal()):
            expected = "a single value" if isinstance(value, (list, dict)) else "a number"
            raise UsageError(
                f"Setting data.{name} must be {expected}, but got {value!r}.",
                f"See the options with: lbench datasets {point.dataset}",
            )
    for name in NUMBERS.keys() & parts.task.keys():
        kind, words = NUMBERS[name]
        if not has_type(kind, value := parts.task[name]):
            raise UsageError(f"Setting {name} must be {words}, but got {value!r}.")


def request(
    point: Point, registry: Registry, protocol: str, extra: Mapping[str, Any] | None = None
) -> Request:
    """Return the request for a run at a point.

    Args:
        point: the point.
        registry: installed rules, networks and datasets.
        protocol: ``strict`` or ``paper``.
        extra: further settings, which take precedence over those of the point.

    Raises:
        UsageError: a setting is unknown, or its value is invalid.
    """
    parts = _parts(point.rule, {**point.settings, **(extra or {})}, registry)
    task = {name: _task_value(name, value) for name, value in parts.task.items()}
    return Request(
        rule=point.rule,
        dataset=point.dataset,
        config=parts.rule,
        network=point.network,
        network_options=parts.network,
        recipe=parts.recipe,
        protocol=protocol,
        data_options=parts.data,
        **{TASK[name]: value for name, value in task.items() if name in TASK},
    )


def _task_value(name: str, value: Any) -> Any:
    """Return a setting of the task as ``Request`` takes it, after a check of its type."""
    if name in WHOLE and value is not None:
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        if type(value) is not int:
            raise UsageError(f"Setting {name} must be a whole number, but got {value!r}.")
    if name in CHOICES and value not in CHOICES[name]:
        allowed = " or ".join(CHOICES[name])
        raise UsageError(f"Setting {name} must be {allowed}, but got {value!r}.")
    if name in ("augment", ENCODER, FREEZE):
        return _converted(name, value)
    return value


def _converted(name: str, value: Any) -> Any:
    """Return an augmentation or a setting of the encoder as ``Request`` takes it."""
    if name == "augment":
        if not isinstance(value, str):
            raise UsageError(f"Setting augment must be text, but got {value!r}.", "Such as: none")
        return "" if value == "none" else value
    if name == ENCODER:
        if not isinstance(value, str) or not value:
            raise UsageError(
                f"Setting {name} must be the path of a file, but got {value!r}.",
                'Such as: encoder = "resnet50.pth"',
            )
        return Path(value)
    if str(value).lower() not in BOOLEANS:
        raise UsageError(f"Setting {name} must be true or false, but got {value!r}.")
    return BOOLEANS[str(value).lower()]


def as_flags(point: Point, chosen: Mapping[str, Any], registry: Registry) -> str:
    """Return a point with the settings that a search chose as options of ``lbench run``.

    Numbers have all digits. The protocol, budgets of equal FLOPs and settings without effect are
    left out.
    """
    options = registry.load("rules", point.rule).Config.model_fields
    settings = {**point.settings, **chosen}
    recipe = _parts(point.rule, settings, registry).recipe
    source = registry.load("datasets", point.dataset)
    rule = registry.load("rules", point.rule)
    default = rule.recipe(Recipe(**source.recipe), point.dataset, point.network)
    excluded = {EQUAL, *idle(recipe_over(default, recipe))}
    words = [f"--rule {point.rule} --dataset {point.dataset}"]
    words += [f"--plugin {shlex.quote(_relative(file))}" for file in _plugin_files(point, registry)]
    if point.network != registry.find("datasets", point.dataset).network:
        words.append(f"--network {point.network}")
    for name, value in settings.items():
        if name in excluded:
            continue
        text = _text(value)
        if name in options:
            words.append(f"--set {name}={text}")
        elif name.startswith(("net.", "data.")):
            kind, _, option = name.partition(".")
            words.append(f"--{kind} {option}={text}")
        elif name == FREEZE:
            words += ["--freeze-encoder"] if BOOLEANS[str(value).lower()] else []
        else:
            words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(words)


def _plugin_files(point: Point, registry: Registry) -> list[Path]:
    """Return the plugin files that a part of a point comes from: ``--plugin`` must name them."""
    parts = (("rules", point.rule), ("datasets", point.dataset), ("networks", point.network))
    owners = {registry.owner(kind, name) for kind, name in parts}
    return [file for file in registry.files if file.name in owners]


def _relative(file: Path) -> str:
    """Return a path relative to the current directory, if it is inside it."""
    current = Path.cwd()
    return str(file.relative_to(current) if file.is_relative_to(current) else file)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if not isinstance(value, float):
        return shlex.quote(str(value)) if value != "" else "none"
    # All digits: another rate is another configuration. But 0.7000000000000001 is the step 0.7.
    short = f"{value:.6g}"
    return short if math.isclose(float(short), value, rel_tol=1e-12) else str(value)
