"""Whose transposed weights reach an update, and how much of them.

A layer's weights are changed while its outputs are held at their old values: all that follows and
every error stay as they are, bit by bit, but its transpose does not. What moves another layer's
signal then has come through the transpose. A change and twice that change have the same signs: if
the second moves nothing more, signs were all that came through. Forward gradients move too, by
one number an example (and position, where they are taken apart by position), so the rank of
several such movements tells a scalar from the full transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lbench.auditing.maps import Map, chain, layers, others, positions
from lbench.auditing.movement import (
    count_directions,
    first_moved,
    flat,
    nonzero,
    signalled,
    update_moved,
)
from lbench.auditing.perturbation import LayerPerturbation, Reference, trained, undisturbed
from lbench.auditing.subject import Signals, Subject
from lbench.auditing.uses import CannotHoldError, Use

if TYPE_CHECKING:
    from lbench.auditing.locality import Locality

LOOKS = 2
"""Changes of a small layer that are tried in each step where nothing has moved yet."""
LARGE = 256
"""Layers with at least this many weights are changed once: random signs never equal their own."""
MOST = 96
"""Changes at most: more numbers than these are not told from the full transpose."""
KINDS = ("none", "scalar", None, "sign", "full")
"""From the least to the most; None: not measurable, perhaps more than was seen."""

REACHES = ("sign", "full")
"""The kinds that count for the depth of a backward pass."""

NOT_HELD = "its outputs cannot be held: with another transpose the step uses it in another way"
OUTSIDE = (
    "its weights are used outside of its own module's call, where a forward use cannot be told "
    "from a transposed one"
)
SILENT = "it got no signal in the steps that were tried"
INSIDE = "one call applies it several times, and what it does to itself there is not seen"
NARROW = "it has too few weights to tell the full transpose from numbers per example"
OWN_WAY = "an optimizer follows it in its own step, not by the gradients that it gets"
UNSEEN = "the updates depend on it in a way that the audit does not see"


@dataclass
class Transport:
    """What was found.

    Args:
        maps: layers in the order of their first use.
        others: what else is trained, such as gains and biases of modules of their own; it has an
            update, and no transpose.
        kinds: by (receiving layer, changed layer): one of ``KINDS``. Pairs without transport from
            an earlier layer to a later one are left out.
        hidden: trained matrices that were not seen in use, although updates depend on them.
        reasons: why a layer or matrix is not measurable.
        trained: names of the parameters that were trained.
        steps: the uses of each undisturbed step.
    """

    maps: list[Map] = field(default_factory=list)
    others: list[Map] = field(default_factory=list)
    kinds: dict[tuple[str, str], str | None] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    steps: list[list[Use]] = field(default_factory=list)

    @property
    def strongest(self) -> str | None:
        """The strongest kind of all pairs; None: perhaps more than was seen."""
        kinds = [*self.kinds.values(), *(None for _ in self.hidden), "none"]
        return max(kinds, key=KINDS.index)

    @property
    def unmeasurable(self) -> list[str]:
        """Layers and matrices whose transpose may reach an update without being seen."""
        pairs = {later for (_, later), kind in self.kinds.items() if kind is None}
        return sorted({*pairs, *self.hidden})

    def depths(self, among: Sequence[Map] | None = None) -> dict[str, int]:
        """By layer: the longest chain of uses whose transposed weights, or signs, reach its update.

        A chain follows the flow of the data, so that a layer which a step applies several times
        counts as often, and layers beside each other count once.

        Args:
            among: the layers that may be in a chain; None for all.
        """
        among = self.maps if among is None else among
        return {m.name: self._depth(m, among) for m in among}

    def _depth(self, m: Map, among: Sequence[Map]) -> int:
        chains = [
            self._chain(m, among, uses, {each.name: each.uses[number] for each in among})
            for number, uses in enumerate(self.steps)
        ]
        return max(chains, default=0)

    def depth_along(self, uses: Sequence[Use], among: Sequence[Map]) -> int:
        """The longest chain of uses of a prediction whose transposes reach one and the same update.

        Where states relax towards an equilibrium, a step applies its layers in no order.
        """
        places = {
            m.name: [k for k, u in enumerate(uses) if u.contracts and u.matrices & {*m.weights}]
            for m in among
        }
        return max((self._chain(m, among, uses, places) for m in among), default=0)

    def _chain(
        self,
        m: Map,
        among: Sequence[Map],
        uses: Sequence[Use],
        places: Mapping[str, Sequence[int]],
    ) -> int:
        """The longest chain of the uses of those layers whose transposes reach a layer's update."""
        reached = [each for each in among if self.kinds.get((m.name, each.name)) in REACHES]
        chosen = {place for each in reached for place in places[each.name]}
        own = places[m.name]
        if m in reached:  # its first use is what is trained, not what its error passes
            chosen -= {k for k in own if not any(uses[k].before >> j & 1 for j in own)}
        return chain(uses, chosen)

    def settle(self, subject: Subject, local: Locality) -> None:
        """What does not depend on a unit at all does not depend on its transposes."""
        unit = {name: each.name for each in subject.units for name in each.params}
        home = {m.name: unit.get(m.params[0]) for m in (*self.maps, *self.others)}
        for earlier, later in [pair for pair, kind in self.kinds.items() if kind is None]:
            one, two = home[earlier], home[later]
            if one is not None and two is not None and local.apart(one, two):
                self.kinds[earlier, later] = "none"
        matrices = {w: unit.get(w) for m in self.maps for w in m.weights}
        matrices |= {name: unit.get(name) for name in self.hidden}
        self.hidden = [
            name
            for name in self.hidden
            if (own := matrices[name]) is None
            or any(other == own for each, other in matrices.items() if each != name)
            or not all(
                local.apart(*pair) for pair in local.redrawn if own in pair
            )  # it may reach, or be reached
        ]
        self.reasons = {name: self.reasons[name] for name in self.unmeasurable}


def transport(
    subject: Subject,
    rows: tuple[int, int, int],
    *,
    apart: bool,
    progress: Callable[[str], None] = lambda text: None,
) -> Transport:
    """Measures every pair of layers, in every phase.

    Args:
        rows: of the batches of three steps.
        apart: scalars may be one an example, position and group of channels, not one an example.
        progress: called with which layer is changed next.
    """
    found = Transport(trained=trained(subject, list(rows)))
    references: list[Reference] = []
    for phase in subject.phases:
        references.append(undisturbed(subject, phase, list(rows), found.trained))
        references[-1].first = len(rows) * (len(references) - 1)
    replica = subject.replica()
    params = {name: replica.params[name] for name in found.trained}
    found.steps = steps = [uses for reference in references for uses in reference.uses]
    found.maps, unused = layers(params, steps)
    order = [m.name for m in found.maps]
    acting = [name for name in found.trained if name not in unused]
    found.others = [m for m in others(acting, found.maps, steps) if m.name not in order]
    for reference in references:
        learners = [m for m in found.maps if any(signalled(s, m) for s in reference.signals)]
        for place, later in enumerate(found.maps):
            progress(f"layer {place + 1} of {len(found.maps)}")
            receivers = [m for m in learners if m is not later or _chained(later, steps)]
            receivers += [m for m in found.others if any(nonzero(s, m) for s in reference.signals)]
            for name, kind in _measure(subject, reference, receivers, later, apart, found).items():
                if kind != "none" or name in order[:place]:
                    before = found.kinds.get((name, later.name), "none")
                    found.kinds[name, later.name] = max(kind, before, key=KINDS.index)
        for name in unused:
            perturbation = LayerPerturbation(
                subject, reference, Map(name, [name], [name], []), found.trained
            )
            # What acts in no forward pass carries errors back: feedback weights.
            if name not in found.hidden and perturbation.acts():
                found.hidden.append(name)
                found.reasons[name] = UNSEEN
    for m in found.maps:
        places = ((uses, k) for uses, at in zip(steps, m.uses, strict=True) for k in at)
        if len(m.weights) > 1 and any(uses[k].several for uses, k in places):
            found.kinds[m.name, m.name] = None
            found.reasons[m.name] = INSIDE
    return found


def _chained(m: Map, steps: Sequence[Sequence[Use]]) -> bool:
    """Whether a step applies a layer to what came out of it."""
    return any(
        uses[k].before >> j & 1
        for uses, places in zip(steps, m.uses, strict=True)
        for k in places
        for j in places
    )


def _measure(
    subject: Subject,
    reference: Reference,
    receivers: list[Map],
    later: Map,
    apart: bool,
    found: Transport,
) -> dict[str, str | None]:
    """What of a layer's transpose reaches each receiver."""
    if not receivers:
        return {}
    perturbation = LayerPerturbation(subject, reference, later, found.trained)
    own = frozenset(later.weights)
    outside = any(
        use.holdable(own, outside=True) and not use.holdable(own, outside=False)
        for uses in reference.uses
        for use in uses
    )
    count = 1 if reference.numel(later) >= LARGE else LOOKS
    try:
        looks = [perturbation.look(number) for number in range(count)]
        kinds: dict[str, str | None] = dict.fromkeys((m.name for m in receivers), "none")
        moving = [m for m in receivers if first_moved(looks, reference.signals, m) is not None]
        updated = [
            m for m in receivers if m is not later and update_moved(looks, reference.signals, m)
        ]
        if not moving and updated:
            kinds |= {m.name: None for m in updated}
            found.reasons[later.name] = OWN_WAY
        if outside and moving:
            # HeldUses everywhere, what still moves has used the transpose.
            kinds |= {m.name: None for m in moving}
            found.reasons[later.name] = OUTSIDE
            perturbation = LayerPerturbation(subject, reference, later, found.trained, outside=True)
            looks = [perturbation.look(number) for number in range(count)]
        return kinds | _kinds(reference, receivers, later, apart, perturbation, looks, found)
    except CannotHoldError:
        found.reasons[later.name] = NOT_HELD
        return {m.name: None for m in receivers}


def _kinds(
    reference: Reference,
    receivers: list[Map],
    later: Map,
    apart: bool,
    perturbation: LayerPerturbation,
    looks: list[list[Signals]],
    found: Transport,
) -> dict[str, str | None]:
    """The kinds of those receivers whose signals move, or that have none that could."""
    first = {m.name: first_moved(looks, reference.signals, m) for m in receivers}
    moving = [m for m in receivers if first[m.name] is not None]
    # A receiver without any signal could not have moved.
    silent = [m for m in receivers if not any(nonzero(signals, m) for signals in reference.signals)]
    kinds: dict[str, str | None] = {m.name: None for m in silent}
    if silent:
        found.reasons.setdefault(later.name, f"{silent[0].name}: {SILENT}")
    if not moving:
        return kinds
    more = _more(perturbation, looks, moving, max(first[m.name] or 0 for m in moving))
    kinds |= {m.name: "sign" for m in moving if m not in more}
    scalars = {m.name: _scalars(reference, m, first[m.name] or 0, apart) for m in more}
    last = max((first[m.name] or 0 for m in more), default=0)
    wanted = min(MOST, max((least for least, _ in scalars.values()), default=0) + 2)
    looks += [perturbation.look(number, last=last) for number in range(len(looks), wanted)]
    for m in more:
        index, (least, most) = first[m.name] or 0, scalars[m.name]
        visible = min(len(looks), reference.numel(later), len(flat(reference.signals[index], m)))
        directions = count_directions(looks, m, reference, index)
        if directions > most:
            kinds[m.name] = "full"
        elif directions <= least < visible:
            kinds[m.name] = "scalar"
        else:  # scalars and the full transpose may both move the signal in that many directions
            kinds[m.name] = None
            found.reasons.setdefault(later.name, NARROW)
    return kinds


def _more(
    perturbation: LayerPerturbation, looks: list[list[Signals]], moving: list[Map], last: int
) -> list[Map]:
    """The layers in whose signals twice a change moves more than the change itself.

    Args:
        looks: under single changes; as many as are needed are added.
        last: step until which every one of the layers has moved.
    """
    more: list[Map] = []
    for number in range(LOOKS):
        if number == len(looks):
            looks.append(perturbation.look(number))
        # Often the steps until all have moved tell; else all steps do.
        for until in (last, None):
            twice = perturbation.look(number, factor=2, last=until)
            found = [m for m in moving if m not in more]
            more += [m for m in found if first_moved([twice], looks[number], m) is not None]
            if len(more) == len(moving):
                return more
    return more


def _scalars(reference: Reference, m: Map, index: int, apart: bool) -> tuple[int, int]:
    """Return how many numbers a forward gradient may have sent to the layer at one step.

    One per example; taken apart, one per example, position and group of channels. The groups
    may be those of a layer behind this one, whose units then reach one of them each.

    Returns:
        As many as leave half of the layer's parameters for the full transpose to show, and all.
    """
    rows = reference.rows[index]
    if not apart:
        return rows, rows
    uses, places = reference.uses[index], m.uses[reference.first + index]
    count = max((use.groups for use in uses), default=1) * positions(uses, places)
    return max(rows, min(count, len(flat(reference.signals[index], m)) // 2)), max(rows, count)
