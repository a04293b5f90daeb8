"""Layers: trained matrices that act together, found by their uses in undisturbed steps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lbench.auditing.uses import Use


@dataclass
class Map:
    """A layer: trained matrices that are combined with data by the same calls.

    Args:
        name: of the module that they belong to, or of the matrix where a module has several layers.
        weights: names of the matrices; none of what is only a receiver, such as a gain.
        params: names of all trained parameters whose signals are the layer's.
        uses: by undisturbed step, the places of its uses in that step's list.
    """

    name: str
    weights: list[str]
    params: list[str]
    uses: list[list[int]]


def layers(
    trained: Mapping[str, Tensor], steps: Sequence[Sequence[Use]]
) -> tuple[list[Map], list[str]]:
    """Return the layers in the order of their first uses, and the matrices that no step used.

    A matrix that only scales elements, as a gain does, is in neither.

    Args:
        trained: parameters of the model by all their names.
        steps: the uses of each undisturbed step.
    """
    places: dict[str, list[list[int]]] = {}
    scales: set[str] = set()
    for number, uses in enumerate(steps):
        for place, use in enumerate(uses):
            scales |= use.params
            for name in use.matrices if use.contracts else ():
                places.setdefault(name, [[] for _ in steps])[number].append(place)
    groups: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for name, found in places.items():
        groups.setdefault(tuple(map(tuple, found)), []).append(name)
    owners = {name: owner(name) for name in trained}
    shared = [owners[names[0]] for names in groups.values()]
    found_layers = []
    for key, names in sorted(groups.items(), key=lambda item: _first(item[0])):
        names = sorted(names, key=list(trained).index)
        homes = list(dict.fromkeys(owners[name] for name in names))
        alone = all(shared.count(home) == 1 for home in homes)
        weights = _aliases(names, trained)
        params = [n for n in trained if alone and owners[n] in homes]
        called = _joined(homes) if alone and all(homes) else _joined(names)
        found_layers.append(
            Map(called, names, _aliases([*weights, *params], trained), [list(each) for each in key])
        )
    seen = {id(trained[name]) for name in {*places, *scales}}
    unused: dict[int, str] = {}  # a tied matrix by its first name
    for name, p in trained.items():
        if p.dim() > 1 and id(p) not in seen:
            unused.setdefault(id(p), name)
    return found_layers, list(unused.values())


def others(
    trained: Collection[str], found: Sequence[Map], steps: Sequence[Sequence[Use]]
) -> list[Map]:
    """Return what is trained and in no layer, such as gains and biases, by the module it is in.

    Args:
        trained: names of parameters that act.
        found: the layers.
        steps: the uses of each undisturbed step.
    """
    known = {name for m in found for name in m.params}
    homes: dict[str, list[str]] = {}
    for name in trained:
        if name not in known:
            homes.setdefault(owner(name), []).append(name)
    return [
        Map(
            home or _joined(names),
            [],
            names,
            [[k for k, use in enumerate(uses) if use.params & {*names}] for uses in steps],
        )
        for home, names in homes.items()
    ]


def owner(name: str) -> str:
    """The name of the module that a parameter belongs to, behind parametrizations too."""
    module = name.rpartition(".")[0]
    return module.split(".parametrizations.")[0].removeprefix("parametrizations.")


def chain(uses: Sequence[Use], chosen: Collection[int]) -> int:
    """The most of the chosen uses that come one behind the other in the flow of the data."""
    longest: dict[int, int] = {}
    for k in sorted(chosen):
        behind = [longest[j] for j in longest if uses[k].before >> j & 1]
        longest[k] = 1 + max(behind, default=0)
    return max(longest.values(), default=0)


def positions(uses: Sequence[Use], places: Sequence[int]) -> int:
    """Examples and positions of the outputs of some uses: a feature vector each."""
    axis = {2: 1, 3: 2}  # (batch, features), (batch, tokens, features); else channels first
    outputs = [uses[place].outputs[0] for place in places]
    return sum(t.numel() // t.shape[axis.get(t.dim(), 1)] for t in outputs if t.dim() > 1)


def change(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers that outweigh every entry: added once or twice, they decide all signs."""
    random = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    least = float(weight.abs().max()) or 1.0
    return (random + random.sign()).to(weight) * (2 * least)


def _first(key: Sequence[Sequence[int]]) -> tuple[int, int]:
    return next((number, places[0]) for number, places in enumerate(key) if places)


def _aliases(names: Sequence[str], trained: Mapping[str, Tensor]) -> list[str]:
    """All names of the tensors that some names stand for."""
    wanted = {id(trained[name]) for name in names}
    return [name for name, p in trained.items() if id(p) in wanted]


def _joined(names: Sequence[str]) -> str:
    """One name, or the dotted beginning that several have in common, or all of them."""
    if len(names) == 1:
        return names[0]
    common = list(_common([name.split(".") for name in names]))
    return ".".join(common) if common else " and ".join(names)


def _common(parts: Sequence[Sequence[str]]) -> Iterator[str]:
    for each in zip(*parts, strict=False):
        if len(set(each)) > 1:
            return
        yield each[0]
