"""Settings by name, as the command line has them, and the request that they make."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbench.errors import UsageError, unknown
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
WHOLE = ("epochs", "examples", "blocks")
CHOICES = {"precision": ("fp32", "bf16"), EQUAL: ("epochs", "flops")}


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
        UsageError: an unknown setting, or a value that does not fit.
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
            task[TASK[name]] = _of_task(name, value)
        elif name.startswith("net."):
            network[name.removeprefix("net.")] = value
        elif name == EQUAL:
            _of_task(name, value)
        else:
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


def _of_task(name: str, value: Any) -> Any:
    """A setting of the task, checked as far as its type goes."""
    if name in WHOLE and value is not None:
        if isinstance(value, str) and value.isdigit():
            return int(value)
        if type(value) is not int:
            raise UsageError(f"Setting {name} must be a whole number, but got {value!r}.")
    if name in CHOICES and value not in CHOICES[name]:
        allowed = " or ".join(CHOICES[name])
        raise UsageError(f"Setting {name} must be {allowed}, but got {value!r}.")
    if name == "augment":
        if not isinstance(value, str):
            raise UsageError(f"Setting augment must be text, but got {value!r}.", "As in: none")
        return "" if value == "none" else value
    return value


def as_flags(point: Point, chosen: Mapping[str, Any], registry: Registry) -> str:
    """A point with what was chosen there, as ``lbench run`` takes it, every digit.

    Without the protocol, and without budgets of equal FLOPs.
    """
    options = registry.load("rules", point.rule).Config.model_fields
    words = [f"--rule {point.rule} --dataset {point.dataset}"]
    words += [f"--plugin {shlex.quote(_near(file))}" for file in _files(point, registry)]
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


def _files(point: Point, registry: Registry) -> list[Path]:
    """The plugin files that bring any part of a point: whoever names it must name them."""
    parts = (("rules", point.rule), ("datasets", point.dataset), ("networks", point.network))
    owners = {registry.owner(kind, name) for kind, name in parts}
    return [file for file in registry.files if file.name in owners]


def _near(file: Path) -> str:
    """A path as it is called from here, where that is shorter."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_shown(each) for each in value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if not isinstance(value, float):
        return shlex.quote(str(value)) if value != "" else "none"
    # All digits: another rate would be another cell. But 0.7000000000000001 is the step 0.7.
    short = f"{value:.6g}"
    return short if math.isclose(float(short), value, rel_tol=1e-12) else str(value)
