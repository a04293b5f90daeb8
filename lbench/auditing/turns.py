"""Turns of units: the state of a unit may be written only in its own turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from lbench.auditing.state import changed, snapshot, state
from lbench.auditing.subject import Subject, SubjectReplica, Unit


def owners(units: Sequence[Unit], names: Sequence[str]) -> dict[str, str]:
    """Return the unit of each module or tensor: the unit of its closest trained relatives.

    A module or tensor with trained relatives in several units, or in none, is left out.
    """
    unit_of = {name: unit.name for unit in units for name in unit.params}
    return {name: owner for name in names if (owner := _owner(name, unit_of)) is not None}


def _owner(name: str, unit_of: Mapping[str, str]) -> str | None:
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        prefix = ".".join(parts[:depth])
        inside = {
            unit for own, unit in unit_of.items() if own == prefix or own.startswith(f"{prefix}.")
        }
        if inside:
            return inside.pop() if len(inside) == 1 else None
    return None


@contextmanager
def taking_turns(subject: Subject, replica: SubjectReplica) -> Iterator[None]:
    """Record, within the context, state of a unit that is written in another unit's turn.

    A turn is a call of one of the unit's modules, or of one of ``replica.turns()``. Writes outside
    of every turn belong to the step itself and are not recorded.
    """
    stack: list[str] = []
    known = snapshot(replica.model)

    def compare() -> None:
        now = state(replica.model)
        names = changed(known, now)
        turn = stack[-1] if stack else None
        if turn is not None:
            for name, owner in owners(subject.units, names).items():
                if owner != turn:
                    replica.conduct.note(name, f"in the turn of {turn}")
        known.update({name: now[name].detach().clone() for name in names})

    def enter(unit: str) -> None:
        if not stack or stack[-1] != unit:
            compare()
        stack.append(unit)

    def leave() -> None:
        if len(stack) < 2 or stack[-2] != stack[-1]:
            compare()
        stack.pop()

    def before(unit: str, module: nn.Module, args: Any) -> None:
        enter(unit)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        leave()

    modules = {name: module for name, module in replica.model.named_modules() if name}
    with ExitStack() as cleanup:
        for name, owner in owners(subject.units, list(modules)).items():
            module = modules[name]
            cleanup.callback(module.register_forward_pre_hook(partial(before, owner)).remove)
            handle = module.register_forward_hook(after, always_call=True)
            cleanup.callback(handle.remove)
        for method, turn_of in replica.turns().items():
            cleanup.callback(_wrap(replica.model, method, turn_of, enter, leave))
        yield
        compare()


def _wrap(
    model: nn.Module,
    method: str,
    turn_of: Callable[..., str],
    enter: Callable[[str], None],
    leave: Callable[[], None],
) -> Callable[[], None]:
    """Make calls of a method turns, and return a function that undoes it."""
    own = getattr(model, method)

    def turn(*args: Any, **kwargs: Any) -> Any:
        enter(turn_of(*args))
        try:
            return own(*args, **kwargs)
        finally:
            leave()

    vars(model)[method] = turn
    return partial(vars(model).pop, method)
