"""The short form: a look at one step of a run in progress, on copies of its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lbench.auditing.conduct import observed
from lbench.auditing.locality import redraw
from lbench.auditing.rule_subject import RuleSubject
from lbench.auditing.schedule import Place
from lbench.auditing.subject import Signals, Unit
from lbench.rule import Rule
from lbench.step import Phase
from lbench.task import Batch


@dataclass(frozen=True, slots=True)
class Glance:
    """What one step was seen to do.

    Args:
        step: from 0.
        cut: everything from this unit on was redrawn in a twin; empty where nothing was. Where
            nothing moved, everything behind the first unit was redrawn in another twin.
        moved: units below the cut whose update was another one then.
        writes: parameters that changed outside of an update, in words.
        generators: global generators that were drawn from.
    """

    step: int
    cut: str
    moved: tuple[str, ...]
    writes: tuple[str, ...]
    generators: tuple[str, ...]


def glance(rule: Rule, batch: Batch, place: Place, phase: Phase | None, seed: int) -> Glance:
    """Makes one step on copies of the rule: as it is, and with all weights above a cut redrawn.

    Only rules that claim that blocks do not depend on later ones have cuts: behind the first
    unit, and behind a random one, another each time. On a device whose kernels do not repeat
    themselves bit by bit, what counts as moved is more than two equal copies differ by.

    Args:
        batch: as the trainer has it, before the rule prepares it.
        place: of the step in the run.
        seed: of the run.
    """
    index = place.index
    subject = RuleSubject(rule, batch.x, batch.target, seed=seed, places=lambda _: place)
    units = subject.units
    base = subject.trial()
    with observed(subject, base):
        signals = base.step(index, batch, phase)
    cut, moved = "", tuple[str, ...]()
    if len(units) > 1 and independent(type(rule).claims(rule.config, rule.network).as_dict()):
        exact = batch.x.device.type == "cpu"
        repeated = None if exact else subject.trial().step(index, batch, phase)
        generator = subject.randomness.generator("audit/cut", index)
        drawn = int(torch.randint(1, len(units), (), generator=generator))

        def moving(changed: Sequence[Unit]) -> set[str]:
            """The other units whose update is another one when these are redrawn."""
            twin = subject.trial()
            for unit in changed:
                twin.put({n: redraw(twin.params[n].detach(), generator) for n in unit.params})
            other = twin.step(index, batch, phase)
            return {
                unit.name
                for unit in units
                if unit not in changed
                and any(_moved(name, signals, other, repeated) for name in unit.params)
            }

        for at in dict.fromkeys((drawn, 1)):
            found = moving(units[at:])
            if found and not _shared(units, found, moving):
                cut, moved = units[at].name, tuple(u.name for u in units[:at] if u.name in found)
                break
            cut = cut or units[at].name
    return Glance(
        index,
        cut,
        moved,
        tuple(f"{subject.label(n)} was changed {when}" for n, when in base.conduct.writes),
        tuple(sorted(base.conduct.generators)),
    )


def _shared(
    units: Sequence[Unit], found: set[str], moving: Callable[[Sequence[Unit]], set[str]]
) -> bool:
    """Whether blocks moved by a unit alone that several use, such as a head of all blocks.

    Args:
        found: the units that moved.
        moving: those that move when some are redrawn.
    """
    blocks = [unit for unit in units if unit.name.startswith("block")]
    others = [unit for unit in units if unit not in blocks]
    lowest = next((k for k, unit in enumerate(blocks) if unit.name in found), None)
    if lowest is None or not others or blocks[lowest].name in moving(blocks[lowest + 1 :]):
        return False
    return len(moving(others) & {unit.name for unit in blocks}) > 1


def independent(claims: Mapping[str, Any]) -> bool:
    """Whether these claims say that no block's update depends on a later block."""
    return claims.get("update_locked") is False and claims.get("global_error") == "none"


def _moved(name: str, one: Signals, other: Signals, repeated: Signals | None) -> bool:
    if (name in one) != (name in other):
        return True
    if name not in one:
        return False
    if len(one[name]) != len(other[name]):
        return True
    a, b = torch.stack(one[name]), torch.stack(other[name])
    if repeated is None:
        return not torch.equal(a, b)
    return float((a - b).norm()) > 10 * float((a - torch.stack(repeated[name])).norm())
