"""docs/interface.md has every public name of the code with its signature, and no other."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic_core import PydanticUndefined

import lbench
from lbench import config, layer, probe, reporting, rule
from lbench.data.loader import DeviceData
from lbench.init import Init
from lbench.network import Chain, Network
from lbench.networks.mlp import Mlp
from lbench.probe import Probe, Scene
from lbench.randomness import Randomness
from lbench.rule import GradientRule, LocalRule, Rule
from lbench.step import Step
from lbench.studies.results import StudyData
from lbench.task import Task

PAGE = (Path(__file__).parents[1] / "docs" / "interface.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
TREE = ast.parse(CODE)
CLASSES = {node.name: node for node in TREE.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in TREE.body if isinstance(node, ast.FunctionDef)}
ELSEWHERE = {
    "__version__", "audit", "compare", "datasets", "hookimpl", "load", "results",
    "rules", "run", "study", "tune",
}  # fmt: skip
"""Public names that are no part of the rule interface, or that the page has in its text."""
PARTLY = {
    "Configuration": {"group", "line"},
    "Series": {"lines"},
    "StudyData": {f.name for f in dataclasses.fields(StudyData)},
}
"""Fields of classes of reports that are lbench's own."""


class Annotation(str):
    """An annotation whose representation has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def named(name: str) -> Any:
    homes = (module for module in (lbench, reporting) if name in module.__all__)
    return getattr(next(homes, rule), name)


def signature(function: Any) -> str:
    """Return the signature of a function in the notation of ``ast.unparse``."""
    plain = inspect.signature(inspect.unwrap(function))
    parameters = [p.replace(annotation=_bare(p.annotation)) for p in plain.parameters.values()]
    plain = plain.replace(parameters=parameters, return_annotation=_bare(plain.return_annotation))
    (node,) = ast.parse(f"def f{plain}: ...").body
    assert isinstance(node, ast.FunctionDef)
    return written(node)


def written(node: ast.FunctionDef) -> str:
    returned = ast.unparse(node.returns) if node.returns else ""
    return f"({ast.unparse(node.args)}) -> {returned}"


def _bare(annotation: Any) -> Any:
    return Annotation(annotation) if isinstance(annotation, str) else annotation


def members(name: str) -> dict[str, Any]:
    """Return the public functions, class methods and properties that a class itself defines."""
    return {
        key: value
        for key, value in vars(named(name)).items()
        if isinstance(value, (classmethod, property)) or inspect.isfunction(value)
        if not key.startswith("_") or (key == "__init__" and not _has_fields(name))
    }


def _has_fields(name: str) -> bool:
    return dataclasses.is_dataclass(named(name)) or issubclass(named(name), config.Options)


def _function(member: Any) -> Any:
    if isinstance(member, classmethod):
        return member.__func__
    return member.fget if isinstance(member, property) else member


def _kind(member: Any) -> list[str]:
    kind = type(member).__name__
    return [kind] if kind in ("classmethod", "property") else []


def methods() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, node in CLASSES.items():
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                yield name, part


@pytest.mark.parametrize(
    ("name", "node"), [pytest.param(n, m, id=f"{n}.{m.name}") for n, m in methods()]
)
def test_the_page_has_the_signature_of_every_method(name: str, node: ast.FunctionDef) -> None:
    member = members(name)[node.name]
    assert written(node) == signature(_function(member))
    assert [ast.unparse(decorator) for decorator in node.decorator_list] == _kind(member)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_page_has_the_signature_of_every_function(name: str) -> None:
    assert written(FUNCTIONS[name]) == signature(named(name))


@pytest.mark.parametrize("name", CLASSES)
def test_the_page_has_every_public_member_and_the_bases_of_a_class(name: str) -> None:
    on_page = {part.name for part in CLASSES[name].body if isinstance(part, ast.FunctionDef)}
    assert on_page == set(members(name))
    bases = [ast.unparse(base).rpartition(".")[2] for base in CLASSES[name].bases]
    assert bases == [base.__name__ for base in named(name).__bases__ if base is not object]


def attributes(name: str) -> dict[str, ast.AnnAssign]:
    return {
        ast.unparse(part.target): part
        for part in CLASSES[name].body
        if isinstance(part, ast.AnnAssign)
    }


def _default(node: ast.AnnAssign) -> Any:
    if isinstance(node.value, ast.Name):
        return getattr(builtins, node.value.id)
    return ast.literal_eval(node.value) if node.value else None


@pytest.mark.parametrize("name", [name for name in CLASSES if _has_fields(name)])
def test_the_page_has_every_field_with_its_kind_and_default(name: str) -> None:
    cls = named(name)
    on_page = {
        key: (ast.unparse(node.annotation), _default(node))
        for key, node in attributes(name).items()
    }
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        in_code = {
            f.name: (f.type, None if f.default is missing else f.default)
            for f in dataclasses.fields(cls)
            if f.name not in PARTLY.get(name, ())
        }
    else:
        in_code = {
            key: (
                cls.__annotations__[key],
                None if field.default is PydanticUndefined else field.default,
            )
            for key, field in cls.model_fields.items()
        }
    assert on_page == {
        key: (ast.unparse(ast.parse(str(kind))), default)
        for key, (kind, default) in in_code.items()
    }


@functools.cache
def instances() -> dict[str, Any]:
    init = Init(0)
    network = Mlp(widths=(8, 6)).build(init, (1, 4, 4), 5)
    chain = Mlp(widths=(8, 6)).build(Init(0), (1, 4, 4), 5).regrouped(1).blocks[0]
    assert isinstance(chain, Chain)
    rule = Rule(network, Task("toy", (1, 4, 4), 5), Rule.Config(), init)
    examples = DeviceData(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.arange(3))
    return {
        "Probe": Probe("toy", Scene(rule, examples, examples, Randomness(0), 1, 1)),
        "Rule": rule,
        "LocalRule": LocalRule(network, Task("toy", (1, 4, 4), 5), Rule.Config(), init),
        "GradientRule": GradientRule(network, Task("toy", (1, 4, 4), 5), Rule.Config(), init),
        "Network": network,
        "Block": network.blocks[0],
        "Chain": chain,
        "Readout": network.readout,
        "Layer": network.layers[0],
        "Step": Step(Randomness(0)),
        "Init": init,
        "Randomness": Randomness(0),
    }


@pytest.mark.parametrize("name", [name for name in CLASSES if not _has_fields(name)])
def test_the_page_has_the_public_attributes_of_an_instance(name: str) -> None:
    on_page = set(attributes(name))
    if inspect.isabstract(named(name)):
        assert on_page == set(vars(named(name))["__annotations__"])
        return
    instance = instances()[name]
    if isinstance(instance, Step):
        in_code = set(Step.__slots__)
    else:
        in_code = {key for key in vars(instance) if not key.startswith("_")} - {"training"}
        in_code |= {key for key in getattr(instance, "_modules", {}) if not key.startswith("_")}
        inherited = {key for base in type(instance).__mro__[1:-1] if base.__name__ in CLASSES
                     for key in attributes(base.__name__)}  # fmt: skip
        in_code |= set(vars(type(instance)).get("__annotations__", {}))
        in_code -= inherited
    assert on_page == in_code


def test_every_public_name_is_on_the_page() -> None:
    for name in set(lbench.__all__) - ELSEWHERE:
        if name.endswith("Entry") and name != "RuleEntry":
            continue
        assert name in CLASSES or name in FUNCTIONS or f"`{name}" in PAGE, name


def test_every_name_of_reporting_is_on_the_page() -> None:
    for name in reporting.__all__:
        assert name in CLASSES or name in FUNCTIONS or f"`{name}`" in PAGE, name


def test_the_page_has_the_kinds_of_noise_and_the_aliases() -> None:
    assert str(rule.Grads) == "collections.abc.Mapping[str, torch.Tensor]"
    assert str(layer.Tap).startswith("collections.abc.Callable[[lbench.layer.Layer, torch.Tensor]")
    for kind in get_args(probe.Kind):
        assert f'`"{kind}"`' in PAGE
    for kind in ("normal", "uniform", "sign"):
        assert Step(Randomness(0)).noise("x", (2,), kind).shape == (2,)  # type: ignore[arg-type]


def test_the_version_of_the_page_is_that_of_the_code() -> None:
    assert f"# The rule interface, version {lbench.hooks.API}\n" in PAGE
    assert isinstance(instances()["Network"], Network)
