"""All measurements of a subject, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbench.auditing.conduct import label_leaks, observed, shared, split_differs
from lbench.auditing.locality import global_error, locality
from lbench.auditing.maps import chain
from lbench.auditing.report import Report
from lbench.auditing.state import trained_state
from lbench.auditing.subject import Subject
from lbench.auditing.transport import Transport, transport
from lbench.auditing.use_tracer import UseTracer, tracing
from lbench.claims import Claims

ROWS = 14
"""Rows that a subject needs."""
STEPS = [7, 7, 5, 7]
"""Rows of the batches of four steps: a rule might behave at one batch size alone."""

DIFFERENCES = (
    "a difference of losses at two values of the weights uses no transpose, so the transport of a "
    "rule of finite differences is none, which is what to claim; that a number of the output loss "
    "reaches the blocks is a claim of global_error"
)
"""Why a claim of scalar transport is contradicted where no transposed weights move an update."""
INFERRED = (
    "that examples are coupled is measured; that it is through {} is inferred from what the step "
    "calls"
)
"""No measurement of updates tells the two apart: a mean of products is a sum over pairs."""
WRITTEN = "what is written into another unit is an update of it that is not measured"
"""Why a rule with foreign writes is not called free of backpropagation."""
ELSEWHERE = (
    "it is no trained parameter, but a step changes it and predictions depend on it: it is trained "
    "where no update is seen"
)
"""Why nothing is called absent where a network is trained in buffers or attributes."""


def measure(
    subject: Subject,
    network: str,
    claims: Claims | None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure everything; the subject is left as it is.

    Args:
        network: on what it is measured, in words.
        claims: what the report compares the measurements with.
        progress: called with the name of each measurement before it is made.
    """
    progress("1 of 6: what a few steps write and draw")
    evidence: dict[str, list[str]] = {}
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

    progress("2 of 6: whose update moves with whom")
    local = locality(subject, STEPS)
    few = (3, 4, 3) if subject.norm_by_batch else (2, 3, 2)
    # Forward gradients taken apart by position are many numbers: allowed to those who claim them.
    apart = claims is not None and claims.transport == "scalar"
    third = "3 of 6: whose transposed weights reach an update"
    progress(third)
    moved = transport(
        subject, few, apart=apart, progress=lambda where: progress(f"{third}, {where}")
    )
    moved.settle(subject, local)
    common = shared(subject, replica)
    progress("4 of 6: what predictions depend on")
    elsewhere = trained_state(subject, STEPS[0])
    moved.hidden += elsewhere
    moved.reasons |= dict.fromkeys(elsewhere, ELSEWHERE)
    leaks = label_leaks(subject, STEPS[0])
    split, noisy = split_differs(subject, ROWS)
    progress("5 of 6: what of the error reaches the blocks")
    acting = [unit for unit in subject.units if unit.name not in local.shared]
    error, reached = global_error(subject, few, acting)
    progress("6 of 6: how deep predictions are")
    full = _full_depth(subject, moved)
    depths = moved.depths()
    depth = max(depths.values(), default=0)

    locked = [f"{a} waits for {b}" for a, b in local.waits]
    label = subject.label
    evidence["transport"] = _transports(subject, moved)
    if claims is not None and claims.transport == "scalar" and moved.strongest == "none":
        evidence["transport"] = [DIFFERENCES]
    evidence["backward_depth"] = [f"{label(n)}: {d}" for n, d in depths.items() if d == depth and d]
    evidence["update_locked"] = locked
    evidence["global_error"] = [f"{unit} moved with {acting[-1].name}" for unit in reached]
    couples = (None if noisy else subject.coupling()) if split else "none"
    evidence["couples"] = [f"{label(n)} differs when the batch is cut in two" for n in split]
    if split and couples:
        evidence["couples"].insert(0, INFERRED.format(couples))
    evidence["writes"] = [
        *(f"{label(name)} was changed {when}" for name, when in conduct.writes),
        *common,
    ]
    evidence["prediction"] = leaks
    evidence["randomness"] = [f"drew from the global generator of {g}" for g in conduct.generators]
    strongest = moved.strongest
    free = None if strongest is None else strongest in ("none", "scalar")
    if free and conduct.writes:
        free, evidence["bp_free"] = None, [WRITTEN]
    measured: dict[str, Any] = {
        "bp_free": free,
        "transport": strongest,
        "backward_depth": "full" if full else None if moved.unmeasurable else depth,
        "update_locked": None if elsewhere and not locked else bool(locked),
        "global_error": None if elsewhere and error == "none" else error,
        "couples": couples,
        "writes": "foreign" if conduct.writes else "shared" if common else "own",
        "prediction": "leaks" if leaks else "clean",
        "randomness": "global" if conduct.generators else "addressed",
    }
    return Report(
        subject.name, network, subject.units, measured, claims, local, moved, evidence, label
    )


def _transports(subject: Subject, moved: Transport) -> list[str]:
    """Every pair where something reached: from another unit first, scalars last."""
    unit = {name: each.name for each in subject.units for name in each.params}
    home = {m.name: unit.get(m.params[0]) for m in (*moved.maps, *moved.others)}
    words = {
        "full": "the transposed weights of",
        "sign": "the signs of the weights of",
        "scalar": "one number an example from",
    }
    reached = [(kind, *pair) for pair, kind in moved.kinds.items() if kind in words]
    reached.sort(key=lambda r: (r[0] == "scalar", home[r[1]] == home[r[2]]))
    return [
        f"the update of {subject.label(earlier)} follows {words[kind]} {subject.label(later)}"
        for kind, earlier, later in reached
        if kind is not None
    ]


def _full_depth(subject: Subject, moved: Transport) -> bool:
    """Whether transposes reach as deep as predictions are: the longest chain of layers in them."""
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
    found = max(*moved.depths(inside).values(), moved.depth_along(tracer.uses, inside), 0)
    return 0 < deepest <= found
