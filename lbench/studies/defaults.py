"""The default settings as trial 0 of a search, with which tuning is compared.

A default may be outside the search space: a weight decay of 0 is, if decays are searched on a
logarithmic scale. Samplers cannot model such a trial. Optuna therefore stores it as a failed one,
which samplers ignore, and its settings and values are stored as attributes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lbench.studies.space import hashable
from lbench.training.cell import Cell

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SETTINGS = "lbench.defaults"
"""Attribute of the trial with the defaults: all its settings."""
VALUES = "lbench.values"
"""Attribute of a complete trial outside the search space: its values."""


def defaults(cell: Cell, names: Iterable[str]) -> dict[str, Any]:
    """Return the settings that a configuration has before its search, as Optuna stores them.

    Args:
        cell: configuration at the point of the search, with the settings of the study.
        names: options of the rule or parts of the recipe.
    """
    own = type(cell.config).model_fields
    sources = {name: cell.config if name in own else cell.recipe for name in names}
    return {name: hashable(getattr(source, name)) for name, source in sources.items()}


def inside(settings: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> bool:
    """Return whether the settings are inside the search space."""
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
    """Return the settings of a trial, which may be outside the search space."""
    settings: Mapping[str, Any] = trial.user_attrs.get(SETTINGS, trial.params)
    return settings


def values_of(trial: FrozenTrial) -> list[float] | None:
    """Return the values of a complete trial, one per objective; None for any other trial."""
    values: list[float] | None = None
    if trial.state.name == "COMPLETE":
        values = trial.values
    elif trial.state.is_finished():
        values = trial.user_attrs.get(VALUES)
    return values


def best_of(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial with the lowest first objective, the earliest of ties, or None."""
    complete = [(values[0], t.number, t) for t in trials if (values := values_of(t)) is not None]
    return min(complete, key=lambda ranked: ranked[:2], default=(0.0, 0, None))[2]
