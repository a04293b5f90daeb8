"""The defaults as trial 0 of a search: what tuning is compared with.

A default may lie outside of what is searched, as a decay of 0 does where decays are searched on a
logarithmic scale. Samplers cannot model such a trial: Optuna has it as a failed one, which they
leave out, and its settings and values are attributes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lbench.run.cell import Cell
from lbench.study.space import hashable

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SETTINGS = "lbench.defaults"
"""Attribute of the trial that has the defaults: all its settings."""
VALUES = "lbench.values"
"""Attribute of a trial outside of the space that is complete: its values."""


def defaults(cell: Cell, names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of these names that a cell has before its search, as Optuna keeps them.

    Args:
        cell: at the search's point, with what the study sets there.
        names: of options of the rule, or of parts of the recipe.
    """
    own = type(cell.config).model_fields
    sources = {name: cell.config if name in own else cell.recipe for name in names}
    return {name: hashable(getattr(source, name)) for name, source in sources.items()}


def inside(settings: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> bool:
    """Return whether a search could have suggested these settings."""
    for name, distribution in space.items():
        try:
            if not distribution._contains(distribution.to_internal_repr(settings[name])):
                return False
        except (TypeError, ValueError):
            # None where numbers are searched, or a value that is not among the choices.
            return False
    return True


def has_defaults(trial: FrozenTrial) -> bool:
    """Return whether a trial has the defaults."""
    return SETTINGS in trial.user_attrs


def settings_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the settings of a trial, those outside of the space too."""
    found: Mapping[str, Any] = trial.user_attrs.get(SETTINGS, trial.params)
    return found


def values_of(trial: FrozenTrial) -> list[float] | None:
    """Return the values of a complete trial by objective; None for any other trial."""
    values: list[float] | None = None
    if trial.state.name == "COMPLETE":
        values = trial.values
    elif trial.state.is_finished():
        values = trial.user_attrs.get(VALUES)
    return values


def best_of(known: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial of lowest first objective; the earliest of equals; None of none."""
    complete = [(values[0], t.number, t) for t in known if (values := values_of(t)) is not None]
    return min(complete, key=lambda each: each[:2], default=(0.0, 0, None))[2]
