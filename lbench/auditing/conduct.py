"""What a step does besides learning: foreign writes, label leaks, coupling of examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lbench.auditing.optimizer_state import OptimizerStates
from lbench.auditing.state import changed, relabelled, snapshot, state
from lbench.auditing.subject import Signals, Subject, SubjectReplica
from lbench.auditing.turns import owners, taking_turns
from lbench.step import Phase
from lbench.task import Batch

CLOSE = 1e-8
"""Relative tolerance: an example alone and in a batch is computed in different orders."""


@contextmanager
def observed(subject: Subject, replica: SubjectReplica) -> Iterator[None]:
    """Record foreign writes of any state by the steps within the context."""
    with taking_turns(subject, replica), OptimizerStates(replica).watching():
        yield


def shared(subject: Subject, replica: SubjectReplica) -> list[str]:
    """Return, in words, trained or written storage that belongs to more than one unit.

    Args:
        replica: a copy that has made its steps.
    """
    fresh, used = (state(r.model, once=False) for r in (subject.replica(), replica))
    tensors = {**replica.params, **{name: used[name] for name in changed(fresh, used)}}
    owner = owners(subject.units, list(tensors))
    by_storage: dict[int, dict[str, str]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if tensor.numel() and (unit := owner.get(name)) is not None:
            by_storage[tensor.untyped_storage().data_ptr()].setdefault(unit, name)
    words = [
        [f"{subject.label(n)} of {unit}" for unit, n in names.items()]
        for names in by_storage.values()
        if len(names) > 1
    ]
    return [f"{' and '.join(names)} are one tensor" for names in words]


def label_leaks(subject: Subject, rows: int) -> list[str]:
    """Return, in words, how predictions depend on anything but weights and inputs."""
    batch = subject.batch(0, rows)
    phase = subject.phases[-1]
    replica, twin = subject.replica(), subject.replica()
    replica.step(0, batch, phase)
    saved, values = snapshot(replica.model), replica.values()
    logits = replica.predict(batch.x)
    leaks = []
    # A module may keep its last output as an attribute, which nothing reads.
    now = {**dict(replica.model.named_buffers()), **dict(replica.model.named_parameters())}
    if names := changed({**saved, **values}, now):
        leaks.append(f"predicting changed {', '.join(map(subject.label, names))}")
    twin.step(0, relabelled(batch), phase)
    twin.put(values)
    if not torch.equal(twin.predict(batch.x), logits):
        _restore(twin, saved)
        if not torch.equal(twin.predict(batch.x), logits):
            leaks.append("predictions changed with the labels of an earlier batch, weights equal")
        elif _by_row(subject, batch, phase):
            leaks.append("each row is predicted by the label of the same row of an earlier batch")
    alone = torch.cat([replica.predict(batch.x[i : i + 1]) for i in range(rows)])
    close = torch.allclose(alone, logits, rtol=CLOSE, atol=CLOSE * float(logits.abs().max()))
    if not close and not replica.noisy:  # noise depends on the number of rows
        leaks.append("an example alone is predicted differently than in its batch")
    if not torch.equal(replica.predict(batch.x), logits):
        leaks.append("the same batch is predicted differently after other predictions")
    return leaks


def _restore(replica: SubjectReplica, saved: Mapping[str, Tensor]) -> None:
    """Set all tensors of the state, which may legitimately depend on labels."""
    for name, value in state(replica.model).items():
        if name in saved and saved[name].shape == value.shape:
            value.data.copy_(saved[name])


def _by_row(subject: Subject, batch: Batch, phase: Phase | None) -> bool:
    """Return whether the label of a row decides the logits of that row alone, on other inputs.

    Statistics and prototypes that depend on labels change the predictions for all rows.
    """
    unseen = subject.batch(1, len(batch.target)).x
    replica = subject.replica()
    replica.step(0, batch, phase)
    values, logits = replica.values(), replica.predict(unseen)
    own = 0
    for row in range(len(batch.target)):
        target = batch.target.clone()
        target[row] = (target[row] + 1) % (batch.target.max() + 1)
        twin = subject.replica()
        twin.step(0, Batch(batch.x, target), phase)
        twin.put(values)
        moved = (twin.predict(unseen) - logits).abs().flatten(1).amax(1) > 0
        own += bool(moved[row])
        moved[row] = False
        if bool(moved.any()):
            return False
    return 2 * own >= len(batch.target)


def split_differs(subject: Subject, rows: int) -> tuple[list[str], bool]:
    """Return the parameters whose signal on a batch is neither mean nor sum of that on its halves.

    Returns:
        Their names, and whether noise was drawn that cannot be cut in two with the batch.
    """
    differing: set[str] = set()
    noisy = False
    for phase in subject.phases:
        for index in range(2):  # on one batch, whole and halves may agree by chance
            batch = subject.batch(index, rows)
            half = rows // 2
            parts = [
                Batch(batch.x[:half], batch.target[:half]),
                Batch(batch.x[half:], batch.target[half:]),
            ]
            replica = subject.shard(0, 1)
            whole = replica.step(index, batch, phase)
            noisy |= bool(replica.conduct.generators)
            halves = [subject.shard(i, 2).step(index, part, phase) for i, part in enumerate(parts)]
            differing |= _not_added(whole, halves)
    return sorted(differing), noisy


def _not_added(whole: Signals, halves: Sequence[Signals]) -> set[str]:
    # The gradient of a bias in front of a normalisation consists of rounding errors.
    noise = CLOSE * max(float(signals[0].abs().max()) for signals in whole.values())
    return {
        name
        for name, signals in whole.items()
        if not any(
            name in halves[0]
            and name in halves[1]
            and torch.allclose(
                scale * (halves[0][name][0] + halves[1][name][0]),
                signals[0],
                rtol=CLOSE,
                atol=noise,
            )
            for scale in (0.5, 1.0)
        )
    }
