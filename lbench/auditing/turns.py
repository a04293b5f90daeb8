"""In whose turn state is written: a unit's state belongs to its own turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from lbench.auditing.state import changed, snapshot, state
from lbench.auditing.subject import Subject, SubjectReplica, Unit


def owners(units: Sequence[Unit], names: Sequence[str]) -> dict[str, str]:
    """Returns the unit of each module or tensor: that of its closest trained relatives.

    What has trained relatives in several units, or in none, belongs to no unit and is left out.
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
    """Within the context, state that is written in another unit's turn is noted.

    A turn is a call of one of the unit's modules, or what the replica says is one. What is written
    outside of every turn is the step's own doing and belongs to it.
    """
    stack: list[str] = []
    known = snapshot(replica.model)

    def look() -> None:
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
            look()
        stack.append(unit)

    def leave() -> None:
        if len(stack) < 2 or stack[-2] != stack[-1]:
            look()
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
        look()


def _wrap(
    model: nn.Module,
    method: str,
    turn_of: Callable[..., str],
    enter: Callable[[str], None],
    leave: Callable[[], None],
) -> Callable[[], None]:
    """Makes a method's calls turns; returns what undoes it."""
    own = getattr(model, method)

    def turn(*args: Any, **kwargs: Any) -> Any:
        enter(turn_of(*args))
        try:
            return own(*args, **kwargs)
        finally:
            leave()

    vars(model)[method] = turn
    return partial(vars(model).pop, method)
