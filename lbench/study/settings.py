"""Settings by name, as the command line has them, and the request that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbench.errors import unknown
from lbench.recipe import Recipe
from lbench.registry import Registry
from lbench.run.resolve import Request
from lbench.study.definition import Point

TASK = {
    "epochs": "epochs",
    "examples": "examples",
    "labels": "labels",
    "blocks": "blocks",
    "augment": "augmentation",
    "precision": "precision",
}
"""Settings that are neither the rule's nor the recipe's, and what a request calls them."""
EQUAL = "equal"
"""``epochs`` (the default) or ``flops``: what a run has in common with that of other rules."""


def check_settings(
    rule: str, names: Mapping[str, Any] | tuple[str, ...], registry: Registry
) -> None:
    """That each name is an option of the rule, a part of the recipe, or the task's.

    Raises:
        UsageError: one is nothing of these; says the nearest.
    """
    options = registry.load("rules", rule).Config.model_fields
    known = [*options, *Recipe.model_fields, *TASK, EQUAL]
    for name in names:
        if name not in known and not name.startswith(("net.", "data.")):
            raise unknown(
                f"setting of rule {rule}",
                name,
                known,
                listing=f"See its options with: lbench rules {rule}; net.NAME is an option of the "
                "network, data.NAME of the dataset.",
            )


def request(
    point: Point, registry: Registry, protocol: str, extra: Mapping[str, Any] | None = None
) -> Request:
    """What is trained at a point.

    Args:
        protocol: ``strict`` or ``paper``.
        extra: further settings, over the point's.

    Raises:
        UsageError: an unknown setting.
    """
    settings = {**point.settings, **(extra or {})}
    check_settings(point.rule, settings, registry)
    options = registry.load("rules", point.rule).Config.model_fields
    config, recipe, network, data, task = {}, {}, {}, {}, {}
    for name, value in settings.items():
        if name in options:
            config[name] = value
        elif name in Recipe.model_fields:
            recipe[name] = value
        elif name in TASK:
            task[TASK[name]] = value
        elif name.startswith("net."):
            network[name.removeprefix("net.")] = value
        elif name != EQUAL:
            data[name.removeprefix("data.")] = value
    return Request(
        rule=point.rule,
        dataset=point.dataset,
        config=config,
        network=point.network,
        network_options=network,
        recipe=recipe,
        protocol=protocol,
        data_options=data,
        **task,
    )


def as_flags(point: Point, chosen: Mapping[str, Any], registry: Registry) -> str:
    """A point with what was chosen there, as ``lbench run`` takes it."""
    options = registry.load("rules", point.rule).Config.model_fields
    words = [f"--rule {point.rule} --dataset {point.dataset}"]
    if point.network != registry.find("datasets", point.dataset).network:
        words.append(f"--network {point.network}")
    for name, value in {**point.settings, **chosen}.items():
        if name == EQUAL:
            continue
        shown = _shown(value)
        if name in options:
            words.append(f"--set {name}={shown}")
        elif name.startswith(("net.", "data.")):
            kind, _, option = name.partition(".")
            words.append(f"--{kind} {option}={shown}")
        else:
            words.append(f"--{name.replace('_', '-')} {shown}")
    return " ".join(words)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_shown(each) for each in value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
