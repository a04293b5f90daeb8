"""Transposed weights that reach updates, and how much of them.

A layer's weights are changed while its outputs are held at their old values. Everything that
follows, and every error, then stays the same in every bit, except for the layer's transpose. If
the signal of another layer moves, it has used the transpose. A change and twice that change give
the weights the same signs: if the second moves no signal further, only signs came through. Forward
gradients move too, by one number per example (or per example and position), so the rank of several
movements distinguishes a scalar from the full transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lbench.auditing.maps import Map, chain, layers, others, positions
from lbench.auditing.movement import (
    Span,
    first_moved,
    flat,
    nonzero,
    signalled,
    span,
    update_moved,
)
from lbench.auditing.perturbation import LayerPerturbation, Reference, trained, undisturbed
from lbench.auditing.subject import Signals, Subject
from lbench.auditing.uses import CannotHoldError, Use

if TYPE_CHECKING:
    from lbench.auditing.locality import Locality

CHANGES = 2
"""Number of changes of a small layer that are tried before a signal counts as unmoved."""
LARGE = 256
"""Layers with at least this many weights are changed once: random signs never equal their own."""
MOST = 96
"""Largest number of changes: more numbers than this cannot be distinguished from the transpose."""
SPARE = 2
"""Changes beyond the number of directions, which show that no change brings another direction."""
KINDS = ("none", "scalar", None, "sign", "full")
"""From the weakest to the strongest. None: not measurable, perhaps stronger than was observed."""

REACHES = ("sign", "full")
"""The kinds that count for the depth of a backward pass."""

NOT_HELD = "its outputs cannot be held: with another transpose the step uses it differently"
OUTSIDE = (
    "its weights are used outside of its own module's call, where forward and transposed uses "
    "cannot be distinguished"
)
SILENT = "it got no signal in the steps that were tried"
INSIDE = "one call applies it several times, and the audit does not see its effect on itself there"
NARROW = "it has too few weights to distinguish the full transpose from numbers per example"
OWN_WAY = "an optimizer uses it in its own step, not through the gradients that it receives"
UNSEEN = "the updates depend on it in a way that the audit does not see"


@dataclass
class Transport:
    """The transport of all pairs of layers.

    Args:
        maps: layers in the order of their first use.
        others: other trained parameters, such as gains and biases in modules of their own. They
            have updates, but no transposes.
        kinds: by (receiving layer, changed layer): one of ``KINDS``. Pairs without transport from
            an earlier layer to a later one are left out.
        hidden: trained matrices of which no use was seen, although updates depend on them.
        reasons: by layer or matrix, why it is not measurable.
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
        """Return the strongest kind of all pairs; None where it may be stronger than observed."""
        kinds = [*self.kinds.values(), *(None for _ in self.hidden), "none"]
        return max(kinds, key=KINDS.index)

    @property
    def unmeasurable(self) -> list[str]:
        """Return the layers and matrices whose transpose may reach an update unseen."""
        pairs = {later for (_, later), kind in self.kinds.items() if kind is None}
        return sorted({*pairs, *self.hidden})

    def depths(self, among: Sequence[Map] | None = None) -> dict[str, int]:
        """Return, by layer, the longest chain of uses whose transposes or signs reach its update.

        A chain follows the flow of the data: a layer that a step applies several times counts
        each time, and parallel layers count once.

        Args:
            among: the layers that may be in a chain; None for all.
        """
        among = self.maps if among is None else among
        return {m.name: self._depth(m, among) for m in among}

    def _depth(self, m: Map, among: Sequence[Map]) -> int:
        chains = [
            self._chain(m, among, uses, {other.name: other.uses[number] for other in among})
            for number, uses in enumerate(self.steps)
        ]
        return max(chains, default=0)

    def depth_along(self, uses: Sequence[Use], among: Sequence[Map]) -> int:
        """Return the longest chain of uses of a prediction whose transposes reach one update.

        It is used because a step in which states relax towards an equilibrium applies its layers
        in no fixed order.
        """
        indices = {
            m.name: [k for k, u in enumerate(uses) if u.contracts and u.matrices & {*m.weights}]
            for m in among
        }
        return max((self._chain(m, among, uses, indices) for m in among), default=0)

    def _chain(
        self,
        m: Map,
        among: Sequence[Map],
        uses: Sequence[Use],
        indices: Mapping[str, Sequence[int]],
    ) -> int:
        """Return the longest chain of uses of the layers whose transposes reach a layer's update.

        Args:
            m: the layer.
            among: the layers that may be in the chain.
            uses: all uses of a step or prediction.
            indices: by layer, the indices of its uses.
        """
        reaching = [other for other in among if self.kinds.get((m.name, other.name)) in REACHES]
        chosen = {index for other in reaching for index in indices[other.name]}
        own = indices[m.name]
        if m in reaching:  # the layer's first use is trained; its error does not pass through it
            chosen -= {k for k in own if not any(uses[k].before >> j & 1 for j in own)}
        return chain(uses, chosen)

    def settle(self, subject: Subject, local: Locality) -> None:
        """Use locality to decide pairs that could not be measured.

        An update that does not depend on a unit at all does not depend on its transposes.
        """
        unit = {name: u.name for u in subject.units for name in u.params}
        home = {m.name: unit.get(m.params[0]) for m in (*self.maps, *self.others)}
        for earlier, later in [pair for pair, kind in self.kinds.items() if kind is None]:
            one, two = home[earlier], home[later]
            if one is not None and two is not None and local.independent(one, two):
                self.kinds[earlier, later] = "none"
        matrices = {w: unit.get(w) for m in self.maps for w in m.weights}
        matrices |= {name: unit.get(name) for name in self.hidden}
        self.hidden = [
            name
            for name in self.hidden
            if (own := matrices[name]) is None
            or any(other == own for matrix, other in matrices.items() if matrix != name)
            # Its unit may reach another one, or be reached by it.
            or not all(local.independent(*pair) for pair in local.redrawn if own in pair)
        ]
        self.reasons = {name: self.reasons[name] for name in self.unmeasurable}


def transport(
    subject: Subject,
    rows: tuple[int, int, int],
    *,
    per_position: bool,
    progress: Callable[[str], None] = lambda text: None,
) -> Transport:
    """Measure every pair of layers, in every phase.

    Args:
        subject: what is measured.
        rows: number of rows of the batches of three steps.
        per_position: whether scalars may be one per example, position and group of channels,
            instead of one per example.
        progress: called with the number of the layer that is changed next.
    """
    result = Transport(trained=trained(subject, list(rows)))
    references = _references(subject, rows, result.trained)
    result.steps = [uses for reference in references for uses in reference.uses]
    unused = _find_layers(subject, result)
    for reference in references:
        _measure_layers(subject, reference, per_position, result, progress)
        _find_hidden(subject, reference, unused, result)
    _mark_recurrent(result)
    return result


def _references(
    subject: Subject, rows: tuple[int, int, int], trained: Sequence[str]
) -> list[Reference]:
    """Make the undisturbed steps of each phase."""
    references: list[Reference] = []
    for phase in subject.phases:
        references.append(undisturbed(subject, phase, list(rows), trained))
        references[-1].first = len(rows) * (len(references) - 1)
    return references


def _find_layers(subject: Subject, result: Transport) -> list[str]:
    """Fill in the layers and other receivers; return the matrices that no step used."""
    replica = subject.replica()
    params = {name: replica.params[name] for name in result.trained}
    result.maps, unused = layers(params, result.steps)
    names = [m.name for m in result.maps]
    acting = [name for name in result.trained if name not in unused]
    receivers = others(acting, result.maps, result.steps)
    result.others = [m for m in receivers if m.name not in names]
    return unused


def _measure_layers(
    subject: Subject,
    reference: Reference,
    per_position: bool,
    result: Transport,
    progress: Callable[[str], None],
) -> None:
    """Change each layer in turn, and fill in the kinds of transport from it in a phase."""
    order = [m.name for m in result.maps]
    learners = [m for m in result.maps if any(signalled(s, m) for s in reference.signals)]
    gains = [m for m in result.others if any(nonzero(s, m) for s in reference.signals)]
    for index, later in enumerate(result.maps):
        progress(f"layer {index + 1} of {len(result.maps)}")
        receivers = [m for m in learners if m is not later or _chained(later, result.steps)]
        receivers += gains
        kinds = _measure(subject, reference, receivers, later, per_position, result)
        for name, kind in kinds.items():
            if kind != "none" or name in order[:index]:
                before = result.kinds.get((name, later.name), "none")
                result.kinds[name, later.name] = max(kind, before, key=KINDS.index)


def _find_hidden(
    subject: Subject, reference: Reference, unused: Sequence[str], result: Transport
) -> None:
    """Fill in the matrices that no step used but that act in a step or a prediction.

    A matrix that acts in no forward pass, such as feedback weights, carries errors back.
    """
    for name in unused:
        matrix = Map(name, [name], [name], [])
        perturbation = LayerPerturbation(subject, reference, matrix, result.trained)
        if name not in result.hidden and perturbation.acts():
            result.hidden.append(name)
            result.reasons[name] = UNSEEN


def _mark_recurrent(result: Transport) -> None:
    """Mark layers that one call applies several times, such as an LSTM, as not measurable."""
    for m in result.maps:
        pairs = zip(result.steps, m.uses, strict=True)
        calls = [uses[k] for uses, indices in pairs for k in indices]
        if len(m.weights) > 1 and any(use.several for use in calls):
            result.kinds[m.name, m.name] = None
            result.reasons[m.name] = INSIDE


def _chained(m: Map, steps: Sequence[Sequence[Use]]) -> bool:
    """Return whether a step applies a layer to something computed from its own outputs."""
    return any(
        uses[k].before >> j & 1
        for uses, indices in zip(steps, m.uses, strict=True)
        for k in indices
        for j in indices
    )


def _measure(
    subject: Subject,
    reference: Reference,
    receivers: list[Map],
    later: Map,
    per_position: bool,
    result: Transport,
) -> dict[str, str | None]:
    """Return the kind of transport from a layer to each receiver, by the receiver's name."""
    if not receivers:
        return {}
    perturbation = LayerPerturbation(subject, reference, later, result.trained)
    own = frozenset(later.weights)
    outside = any(
        use.holdable(own, outside=True) and not use.holdable(own, outside=False)
        for uses in reference.uses
        for use in uses
    )
    count = 1 if reference.numel(later) >= LARGE else CHANGES
    try:
        responses = [perturbation.response(number) for number in range(count)]
        kinds: dict[str, str | None] = dict.fromkeys((m.name for m in receivers), "none")
        moving = [m for m in receivers if first_moved(responses, reference.signals, m) is not None]
        updated = [
            m for m in receivers if m is not later and update_moved(responses, reference.signals, m)
        ]
        if not moving and updated:
            kinds |= {m.name: None for m in updated}
            result.reasons[later.name] = OWN_WAY
        if outside and moving:
            # With all uses held, a signal that still moves has used the transpose.
            kinds |= {m.name: None for m in moving}
            result.reasons[later.name] = OUTSIDE
            perturbation = LayerPerturbation(
                subject, reference, later, result.trained, outside=True
            )
            responses = [perturbation.response(number) for number in range(count)]
        return kinds | _kinds(
            reference, receivers, later, per_position, perturbation, responses, result
        )
    except CannotHoldError:
        result.reasons[later.name] = NOT_HELD
        return {m.name: None for m in receivers}


def _kinds(
    reference: Reference,
    receivers: list[Map],
    later: Map,
    per_position: bool,
    perturbation: LayerPerturbation,
    responses: list[list[Signals]],
    result: Transport,
) -> dict[str, str | None]:
    """Return the kinds of the receivers whose signals move, and None for those without signals."""
    first = {m.name: first_moved(responses, reference.signals, m) for m in receivers}
    moving = [m for m in receivers if first[m.name] is not None]
    # A receiver without any signal could not have moved.
    silent = [m for m in receivers if not any(nonzero(signals, m) for signals in reference.signals)]
    kinds: dict[str, str | None] = {m.name: None for m in silent}
    if silent:
        result.reasons.setdefault(later.name, f"{silent[0].name}: {SILENT}")
    if not moving:
        return kinds
    more = _beyond_signs(perturbation, responses, moving, max(first[m.name] or 0 for m in moving))
    kinds |= {m.name: "sign" for m in moving if m not in more}
    scalars = {m.name: _scalars(reference, m, first[m.name] or 0, per_position) for m in more}
    if not more:
        return kinds
    wanted = max(len(responses), min(MOST, max(least for least, _ in scalars.values()) + SPARE))
    last = max(first[m.name] or 0 for m in more)
    spans: dict[str, Span] = {}
    undecided = more
    while undecided:
        for m in undecided:
            spans[m.name] = span(responses, m, reference, first[m.name] or 0)
        undecided = [m for m in undecided if not _decided(spans[m.name], scalars[m.name][1])]
        if not undecided or len(responses) == wanted:
            break
        count = len(responses)
        numbers = range(count, min(wanted, count + max(1, count // 2)))
        responses += [perturbation.response(number, last=last) for number in numbers]
    for m in more:
        least, most = scalars[m.name]
        signal = flat(reference.signals[first[m.name] or 0], m)
        visible = min(wanted, reference.numel(later), len(signal))
        if spans[m.name].directions > most:
            kinds[m.name] = "full"
        elif spans[m.name].directions <= least < visible:
            kinds[m.name] = "scalar"
        else:  # scalars and the full transpose may both move the signal in that many directions
            kinds[m.name] = None
            result.reasons.setdefault(later.name, NARROW)
    return kinds


def _decided(movements: Span, most: int) -> bool:
    """Return whether further changes leave the kind as it is.

    Changes are random: when two of them brought no new direction, none will.
    """
    return movements.directions > most or movements.directions <= movements.moved - SPARE


def _beyond_signs(
    perturbation: LayerPerturbation, responses: list[list[Signals]], moving: list[Map], last: int
) -> list[Map]:
    """Return the layers whose signals move further under twice a change than under the change.

    Args:
        perturbation: steps with the changed layer.
        responses: signals under single changes; further ones are added where they are needed.
        moving: the layers whose signals move.
        last: the step at which each of these layers has moved.
    """
    more: list[Map] = []
    for number in range(CHANGES):
        if number == len(responses):
            responses.append(perturbation.response(number))
        # The steps until all have moved are often enough; otherwise all steps are made.
        for until in (last, None):
            twice = perturbation.response(number, factor=2, last=until)
            rest = [m for m in moving if m not in more]
            more += [m for m in rest if first_moved([twice], responses[number], m) is not None]
            if len(more) == len(moving):
                return more
    return more


def _scalars(reference: Reference, m: Map, index: int, per_position: bool) -> tuple[int, int]:
    """Return how many numbers a forward gradient may have sent to the layer at one step.

    There is one number per example or, with ``per_position``, one per example, position and group
    of channels. The groups may be those of a later layer, which this layer's units feed.

    Returns:
        The number, limited to half of the layer's parameters, so that a full transpose remains
        visible; and the number without this limit.
    """
    rows = reference.rows[index]
    if not per_position:
        return rows, rows
    uses, indices = reference.uses[index], m.uses[reference.first + index]
    count = max((use.groups for use in uses), default=1) * positions(uses, indices)
    return max(rows, min(count, len(flat(reference.signals[index], m)) // 2)), max(rows, count)
