"""All measurements of a subject, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbench.auditing.conduct import label_leaks, observed, shared, split_differs
from lbench.auditing.locality import Locality, global_error, locality
from lbench.auditing.maps import chain
from lbench.auditing.report import UNSEEN, Report
from lbench.auditing.state import trained_state
from lbench.auditing.subject import Conduct, Subject
from lbench.auditing.transport import Transport, transport
from lbench.auditing.use_tracer import UseTracer, tracing
from lbench.claims import Claims

ROWS = 14
"""Number of rows that a subject needs."""
STEPS = [7, 7, 5, 7]
"""Rows of the batches of four steps: a rule might behave differently at another batch size."""

DIFFERENCES = (
    "a difference of losses at two values of the weights uses no transpose, so the transport of a "
    "rule of finite differences is none, and this is what to claim; that a number of the output "
    "loss reaches the blocks is a claim of global_error"
)
"""Reason why a claim of scalar transport is contradicted where no transpose moves an update."""
INFERRED = (
    "that examples are coupled is measured; that it is through {} is inferred from what the step "
    "calls"
)
"""Updates cannot distinguish ``mean`` from ``rows``: a mean of products is a sum over pairs."""
WRITTEN = "a write into another unit is an update of it that is not measured"
"""Reason why a rule with foreign writes is not called free of backpropagation."""
ELSEWHERE = (
    "it is no trained parameter, but a step changes it and predictions depend on it: it is trained "
    "where no update is seen"
)
"""Reason why nothing is called absent where a network is trained in buffers or attributes."""


def measure(
    subject: Subject,
    network: str,
    claims: Claims | None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Make all measurements; the subject does not change.

    Args:
        subject: what is measured.
        network: description of the network on which it is measured.
        claims: what the report compares the measurements with.
        progress: called with the name of each measurement before it is made.
    """
    results = _results(subject, claims, progress)
    evidence = _evidence(subject, claims, results)
    return Report(
        subject.name,
        network,
        subject.units,
        _values(subject, claims, results),
        claims,
        results.local,
        results.transport,
        evidence,
        subject.label,
    )


@dataclass
class _Results:
    """Results of all measurements.

    Args:
        conduct: writes and random draws of a few steps.
        shared: storage that several units share, in words.
        local: dependence of updates on later units.
        transport: transposed weights that reach updates.
        elsewhere: names of state that is trained although it is no trained parameter.
        leaks: what predictions depend on besides weights and inputs, in words.
        coupled: parameters whose update couples examples.
        noisy: whether noise was drawn that cannot be cut in two with the batch.
        error: how much of the error of the last unit reaches the units below.
        reached: names of the units that it reaches.
        last: name of that last unit.
        full: whether transposes reach as deep as predictions are.
    """

    conduct: Conduct
    shared: list[str]
    local: Locality
    transport: Transport
    elsewhere: list[str]
    leaks: list[str]
    coupled: list[str]
    noisy: bool
    error: str
    reached: list[str]
    last: str
    full: bool

    def coupling(self, subject: Subject, claims: Claims | None) -> str | None:
        """Return none, mean or rows; None where it cannot be measured."""
        if not self.coupled:
            return None if _claims_coupling(claims) else "none"
        return None if self.noisy else subject.coupling()


def _results(subject: Subject, claims: Claims | None, progress: Callable[[str], None]) -> _Results:
    """Make the measurements in their order."""
    progress("1 of 6: writes and random draws of a few steps")
    conduct, common = _conduct(subject)
    progress("2 of 6: dependence of updates on later units")
    local = locality(subject, STEPS)
    rows = (3, 4, 3) if subject.norm_by_batch else (2, 3, 2)
    moved = _transport(subject, rows, claims, local, progress)
    progress("4 of 6: what predictions depend on")
    elsewhere = trained_state(subject, STEPS[0])
    moved.hidden += elsewhere
    moved.reasons |= dict.fromkeys(elsewhere, ELSEWHERE)
    leaks = label_leaks(subject, STEPS[0])
    coupled, noisy = split_differs(subject, ROWS)
    progress("5 of 6: how much of the error reaches the blocks")
    acting = [unit for unit in subject.units if unit.name not in local.shared]
    error, reached = global_error(subject, rows, acting)
    progress("6 of 6: depth of predictions")
    full = _full_depth(subject, moved)
    return _Results(
        conduct,
        common,
        local,
        moved,
        elsewhere,
        leaks,
        coupled,
        noisy,
        error,
        reached,
        acting[-1].name,
        full,
    )


def _conduct(subject: Subject) -> tuple[Conduct, list[str]]:
    """Return the conduct of a few steps in each phase, and the storage that units share."""
    replica = subject.replica()
    with observed(subject, replica):
        for index, rows in enumerate(STEPS):
            replica.step(index, subject.batch(index, rows), subject.phases[0])
    replica.predict(subject.batch(0, STEPS[0]).x)
    conduct = replica.conduct
    for phase in subject.phases[1:]:
        other = subject.replica()
        with observed(subject, other):
            other.step(0, subject.batch(0, STEPS[0]), phase)
        conduct.writes += other.conduct.writes
        conduct.generators |= other.conduct.generators
    return conduct, shared(subject, replica)


def _transport(
    subject: Subject,
    rows: tuple[int, int, int],
    claims: Claims | None,
    local: Locality,
    progress: Callable[[str], None],
) -> Transport:
    """Measure transport, and settle pairs that cannot be measured but are independent."""
    name = "3 of 6: transposed weights that reach updates"
    progress(name)
    moved = transport(
        subject,
        rows,
        # Forward gradients per position are many numbers, allowed to rules that claim scalars.
        per_position=claims is not None and claims.transport == "scalar",
        progress=lambda layer: progress(f"{name}, {layer}"),
    )
    moved.settle(subject, local)
    return moved


def _claims_coupling(claims: Claims | None) -> bool:
    return claims is not None and claims.couples not in (None, "none")


def _values(subject: Subject, claims: Claims | None, results: _Results) -> dict[str, Any]:
    """Return the measured values by name of the claim."""
    moved, conduct, elsewhere = results.transport, results.conduct, results.elsewhere
    strongest = moved.strongest
    free = None if strongest is None else strongest in ("none", "scalar")
    depth = max(moved.depths().values(), default=0)
    locked = bool(results.local.waits)
    return {
        "bp_free": None if free and conduct.writes else free,
        "transport": strongest,
        "backward_depth": "full" if results.full else None if moved.unmeasurable else depth,
        "update_locked": None if elsewhere and not locked else locked,
        "global_error": None if elsewhere and results.error == "none" else results.error,
        "couples": results.coupling(subject, claims),
        "writes": "foreign" if conduct.writes else "shared" if results.shared else "own",
        "prediction": "leaks" if results.leaks else "clean",
        "randomness": "global" if conduct.generators else "addressed",
    }


def _evidence(subject: Subject, claims: Claims | None, results: _Results) -> dict[str, list[str]]:
    """Return the evidence for the measured values, in words, by name of the claim."""
    label, moved, conduct = subject.label, results.transport, results.conduct
    strongest, depths = moved.strongest, moved.depths()
    depth = max(depths.values(), default=0)
    claims_scalar = claims is not None and claims.transport == "scalar"
    coupled = [
        f"the update of {label(n)} differs when the batch is cut in two" for n in results.coupled
    ]
    if results.coupled and (coupling := results.coupling(subject, claims)):
        coupled.insert(0, INFERRED.format(coupling))
    elif not results.coupled and _claims_coupling(claims):
        coupled.append(UNSEEN)
    evidence = {
        "transport": [DIFFERENCES]
        if claims_scalar and strongest == "none"
        else _transports(subject, moved),
        "backward_depth": [_reached(label(n), d) for n, d in depths.items() if d == depth and d],
        "update_locked": [f"{a} waits for {b}" for a, b in results.local.waits],
        "global_error": [
            f"the update of {unit} changed with the weights of {results.last}"
            for unit in results.reached
        ],
        "couples": coupled,
        "writes": [
            *(f"{label(name)} was changed {when}" for name, when in conduct.writes),
            *results.shared,
        ],
        "prediction": results.leaks,
        "randomness": [
            f"the step drew from the global generator of {g}" for g in conduct.generators
        ],
    }
    if strongest in ("none", "scalar") and conduct.writes:
        evidence["bp_free"] = [WRITTEN]
    return evidence


def _reached(layer: str, depth: int) -> str:
    """Return how many transposes reach a layer's update, in words."""
    if depth == 1:
        return f"1 transposed layer reaches the update of {layer}"
    return f"{depth} transposed layers, one after the other, reach the update of {layer}"


def _transports(subject: Subject, moved: Transport) -> list[str]:
    """Return, in words, the pairs with transport: of two units first, scalars last."""
    unit = {name: u.name for u in subject.units for name in u.params}
    home = {m.name: unit.get(m.params[0]) for m in (*moved.maps, *moved.others)}
    words = {
        "full": "the transposed weights of",
        "sign": "the signs of the weights of",
        "scalar": "one number per example from",
    }
    reached = [(kind, *pair) for pair, kind in moved.kinds.items() if kind in words]
    reached.sort(key=lambda r: (r[0] == "scalar", home[r[1]] == home[r[2]]))
    return [
        f"the update of {subject.label(earlier)} follows {words[kind]} {subject.label(later)}"
        for kind, earlier, later in reached
        if kind is not None
    ]


def _full_depth(subject: Subject, moved: Transport) -> bool:
    """Return whether transposes reach as deep as the longest chain of layers in a prediction."""
    replica = subject.replica()
    batch = subject.batch(0, STEPS[0])
    replica.step(0, batch, subject.phases[0])
    params = {name: replica.params[name] for name in moved.trained}
    with tracing(UseTracer(replica.model, params, batch.x)) as tracer:
        logits = replica.predict(batch.x)
    before = tracer.before(logits)
    chosen = {k for k, u in enumerate(tracer.uses) if u.contracts and before >> k & 1}
    names = frozenset().union(*(tracer.uses[k].params for k in chosen))
    inside = [m for m in moved.maps if names & frozenset(m.weights)]
    deepest = chain(tracer.uses, chosen) - 1
    reached = max(*moved.depths(inside).values(), moved.depth_along(tracer.uses, inside), 0)
    return 0 < deepest <= reached
