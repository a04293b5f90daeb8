"""Layers: trained matrices that act together, found from their uses in undisturbed steps."""

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
        name: name of the module that they belong to, or of the matrix where a module has several
            layers.
        weights: names of the matrices; empty where it is only a receiver, such as a gain.
        params: names of all trained parameters whose signals are the layer's.
        uses: by undisturbed step, the indices of its uses in that step's list.
    """

    name: str
    weights: list[str]
    params: list[str]
    uses: list[list[int]]


def layers(
    trained: Mapping[str, Tensor], steps: Sequence[Sequence[Use]]
) -> tuple[list[Map], list[str]]:
    """Return the layers in the order of their first uses, and the matrices that no step used.

    A matrix that only scales elements, as a gain does, is in neither list.

    Args:
        trained: parameters of the model by all their names.
        steps: the uses of each undisturbed step.
    """
    indices: dict[str, list[list[int]]] = {}
    scales: set[str] = set()
    for number, uses in enumerate(steps):
        for index, use in enumerate(uses):
            scales |= use.params
            for name in use.matrices if use.contracts else ():
                indices.setdefault(name, [[] for _ in steps])[number].append(index)
    groups: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for name, by_step in indices.items():
        groups.setdefault(tuple(map(tuple, by_step)), []).append(name)
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
            Map(called, names, _aliases([*weights, *params], trained), [list(step) for step in key])
        )
    used = {id(trained[name]) for name in {*indices, *scales}}
    unused: dict[int, str] = {}  # a tied matrix has its first name
    for name, p in trained.items():
        if p.dim() > 1 and id(p) not in used:
            unused.setdefault(id(p), name)
    return found_layers, list(unused.values())


def others(
    trained: Collection[str], maps: Sequence[Map], steps: Sequence[Sequence[Use]]
) -> list[Map]:
    """Return the trained parameters that are in no layer, such as gains, grouped by module.

    Args:
        trained: names of parameters that act.
        maps: the layers.
        steps: the uses of each undisturbed step.
    """
    known = {name for m in maps for name in m.params}
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
    """Return the name of the module that a parameter belongs to, also behind parametrizations."""
    module = name.rpartition(".")[0]
    return module.split(".parametrizations.")[0].removeprefix("parametrizations.")


def chain(uses: Sequence[Use], chosen: Collection[int]) -> int:
    """Return the length of the longest chain of chosen uses in the flow of the data."""
    longest: dict[int, int] = {}
    for k in sorted(chosen):
        earlier = [longest[j] for j in longest if uses[k].before >> j & 1]
        longest[k] = 1 + max(earlier, default=0)
    return max(longest.values(), default=0)


def positions(uses: Sequence[Use], indices: Sequence[int]) -> int:
    """Return the number of feature vectors, by example and position, in the outputs of uses."""
    axis = {2: 1, 3: 2}  # (batch, features), (batch, tokens, features); else channels first
    outputs = [uses[index].outputs[0] for index in indices]
    return sum(t.numel() // t.shape[axis.get(t.dim(), 1)] for t in outputs if t.dim() > 1)


def change(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Return random numbers larger than every entry: added once or twice, they set all signs."""
    random = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    least = float(weight.abs().max()) or 1.0
    return (random + random.sign()).to(weight) * (2 * least)


def _first(key: Sequence[Sequence[int]]) -> tuple[int, int]:
    return next((number, indices[0]) for number, indices in enumerate(key) if indices)


def _aliases(names: Sequence[str], trained: Mapping[str, Tensor]) -> list[str]:
    """Return all names of the tensors with these names."""
    wanted = {id(trained[name]) for name in names}
    return [name for name, p in trained.items() if id(p) in wanted]


def _joined(names: Sequence[str]) -> str:
    """Return the only name, the common dotted prefix of several names, or all of them."""
    if len(names) == 1:
        return names[0]
    common = list(_common([name.split(".") for name in names]))
    return ".".join(common) if common else " and ".join(names)


def _common(parts: Sequence[Sequence[str]]) -> Iterator[str]:
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            return
        yield level[0]
