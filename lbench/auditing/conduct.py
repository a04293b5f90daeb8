"""What a step does besides learning: foreign writes, labels in predictions, coupled examples."""

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
"""Relative; an example alone and in a batch is computed in another order."""


@contextmanager
def observed(subject: Subject, replica: SubjectReplica) -> Iterator[None]:
    """Within the context, which is around some steps, foreign writes of any state are noted."""
    with taking_turns(subject, replica), OptimizerStates(replica).watching():
        yield


def shared(subject: Subject, replica: SubjectReplica) -> list[str]:
    """Storage that is trained or written and belongs to more than one unit, in words.

    Args:
        replica: that has made its steps.
    """
    fresh, kept = (state(each.model, once=False) for each in (subject.replica(), replica))
    tensors = {**replica.params, **{name: kept[name] for name in changed(fresh, kept)}}
    owner = owners(subject.units, list(tensors))
    several: dict[int, dict[str, str]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if tensor.numel() and (unit := owner.get(name)) is not None:
            several[tensor.untyped_storage().data_ptr()].setdefault(unit, name)
    words = [
        [f"{subject.label(n)} of {unit}" for unit, n in names.items()]
        for names in several.values()
        if len(names) > 1
    ]
    return [f"{' and '.join(each)} are one tensor" for each in words]


def label_leaks(subject: Subject, rows: int) -> list[str]:
    """How predictions depend on anything but weights and input, in words."""
    batch = subject.batch(0, rows)
    phase = subject.phases[-1]
    replica, twin = subject.replica(), subject.replica()
    replica.step(0, batch, phase)
    kept, values = snapshot(replica.model), replica.values()
    logits = replica.predict(batch.x)
    leaks = []
    # A module may keep its last output as an attribute, which nothing reads.
    now = {**dict(replica.model.named_buffers()), **dict(replica.model.named_parameters())}
    if names := changed({**kept, **values}, now):
        leaks.append(f"predicting changed {', '.join(map(subject.label, names))}")
    twin.step(0, relabelled(batch), phase)
    twin.put(values)
    if not torch.equal(twin.predict(batch.x), logits):
        _restore(twin, kept)
        if not torch.equal(twin.predict(batch.x), logits):
            leaks.append("predictions changed with the labels of an earlier batch, weights equal")
        elif _by_place(subject, batch, phase):
            leaks.append("each row is predicted by the label in its place in an earlier batch")
    alone = torch.cat([replica.predict(batch.x[i : i + 1]) for i in range(rows)])
    close = torch.allclose(alone, logits, rtol=CLOSE, atol=CLOSE * float(logits.abs().max()))
    if not close and not replica.noisy:  # noise is another one for another number of rows
        leaks.append("an example alone is predicted otherwise than in its batch")
    if not torch.equal(replica.predict(batch.x), logits):
        leaks.append("the same batch is predicted otherwise after other predictions")
    return leaks


def _restore(replica: SubjectReplica, kept: Mapping[str, Tensor]) -> None:
    """Sets all tensors of the state, which may rightly depend on labels."""
    for name, value in state(replica.model).items():
        if name in kept and kept[name].shape == value.shape:
            value.data.copy_(kept[name])


def _by_place(subject: Subject, batch: Batch, phase: Phase | None) -> bool:
    """Whether the label of a row decides the logits of that row alone, on other inputs.

    Statistics and prototypes that depend on labels change what is predicted for all rows.
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
    """Parameters whose signal on a batch is neither mean nor sum of those on its halves.

    Returns:
        Their names; whether noise was drawn that cannot be cut in two with the batch.
    """
    differing: set[str] = set()
    noisy = False
    for phase in subject.phases:
        for index in range(2):  # on one batch whole and halves may choose alike by chance
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
    # A bias in front of a normalisation has a gradient of rounding errors alone.
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
