"""Checks that copies of a step behave alike, and that the original does not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from lbench.auditing.copies import Original
from lbench.auditing.subject import Signals, Subject, moved_bits
from lbench.errors import UsageError

ROWS = 7
SPOILT = " after a copy whose weights were NaN"
HINT = (
    "Keep its state in buffers of the model, in optimizers, or in variables and attributes that "
    "copy.deepcopy can copy. State inside compiled code, files or other installed packages is not "
    "copied."
)


def repeated(subject: Subject, original: Original) -> Signals:
    """Return the signals of one step, after checking that other copies have the same signals.

    A second copy makes the same step. A third copy makes it after a copy whose weights were all
    NaN, since state that copies share would carry the NaN from one to the next.

    Raises:
        UsageError: two copies have different signals. The error names the state that they share
            where it can be determined.
    """
    before = original.state()
    batch = subject.batch(0, min(ROWS, len(subject.x)))
    first = Signals()
    for phase in subject.phases:
        signals = subject.replica().step(0, batch, phase)
        first = first or signals
        if not _alike(signals, subject.replica().step(0, batch, phase)):
            raise _refusal(subject, original, before, "")
        spoilt = subject.replica()
        spoilt.put({n: torch.full_like(p, torch.nan) for n, p in spoilt.params.items()})
        with suppress(Exception):  # a step may fail on NaN
            spoilt.step(0, batch, phase)
        try:
            alike = _alike(signals, subject.replica().step(0, batch, phase))
        except Exception as error:
            raise _refusal(subject, original, before, SPOILT) from error
        if not alike:
            raise _refusal(subject, original, before, SPOILT)
    return first


@contextmanager
def unchanged(original: Original, subject: Subject) -> Iterator[None]:
    """Check that no tensor of the original changes within the context.

    Raises:
        UsageError: a tensor of the original has changed.
    """
    before = original.fingerprint()
    try:
        yield
    except UsageError as error:
        if (changed := original.changed(before)) is not None:
            raise _not_the_copy(subject, changed) from error
        raise
    if (changed := original.changed(before)) is not None:
        raise _not_the_copy(subject, changed)


def _alike(one: Signals, other: Signals) -> bool:
    return one.keys() == other.keys() and all(
        len(one[name]) == len(other[name])
        and not any(moved_bits(a, b) for a, b in zip(one[name], other[name], strict=True))
        for name in one
    )


def _refusal(
    subject: Subject, original: Original, before: dict[str, object], when: str
) -> UsageError:
    after = original.state()
    names = [name for name, state in before.items() if after.get(name) != state]
    shared = [*names, *(name for name in original.shared if name not in names)]
    not_copied = f" State that is not copied: {', '.join(shared)}." if shared else ""
    return UsageError(
        f"{subject.name} does not repeat itself: two copies on the same batch, with the same "
        f"random numbers, gave other gradients{when}.{not_copied}",
        HINT,
    )


def _not_the_copy(subject: Subject, changed: str) -> UsageError:
    return UsageError(
        f"{subject.name} trained the model itself, or what belongs to it, not the copy that it "
        f"received: {changed} has changed.",
        "Let it use its first argument, def step(model, batch), and optimizers that it reads from "
        "variables around it or from the object that it is a method of.",
    )
