"""The catalogue of measured quantities of a run.

A quantity is measured in ``lbench/training/`` and written to ``result.json``. Everything else
follows from its entry here: the check of the file, the column of the record, MLflow metrics, JSON,
the tables of runs, comparisons and studies, objectives of searches and cost axes of figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured quantity of a run.

    Args:
        name: name in ``result.json``, in the record and in every file with columns.
        unit: ``%``, ``s``, ``ms``, ``MiB``, ``FLOP`` or another one; "" for a plain number. A
            quantity in ``%`` is an error from 0 to 100.
        group: the object of ``result.json`` that has the value, if it is not at the top:
            ``seconds_training`` is ``training`` of the group ``seconds``.
        whole: whether it is a whole number, at least 0.
        default: value for a run whose result does not have one.
        over_seeds: which value over the finished seeds stands for a configuration in comparisons
            and studies; None for a quantity of runs only.
        title: its row in the table of one configuration, and its mean in MLflow's parent run; ""
            for neither. The unit follows the title.
        column: its column in tables of several configurations, likewise.
        optional: whether tables leave out its row where no run has a value.
        compared: whether ``lbench compare`` has it.
        ratio: name of its ratio to the first configuration of a comparison; "" for none.
        mlflow: what stands in front of its name in MLflow, which draws ``system/`` on a separate
            tab; None for a quantity that MLflow does not get.
        axis: what axes call it, without the unit; "" for the title.
        short: name as an objective or a cost; "" for the name.
        objective: whether a search can minimise it.
        cost: whether a figure can plot the test error against it.
    """

    name: str
    unit: str = ""
    group: str = ""
    whole: bool = False
    default: int | None = None
    over_seeds: Literal["mean", "largest", "least"] | None = None
    title: str = ""
    column: str = ""
    optional: bool = False
    compared: bool = True
    ratio: str = ""
    mlflow: str | None = "system/"
    axis: str = ""
    short: str = ""
    objective: bool = False
    cost: bool = False

    def __post_init__(self) -> None:
        """Check that tables and figures of configurations have a value over the seeds.

        Raises:
            ValueError: they have none.
        """
        if (self.column or self.ratio or self.cost) and self.over_seeds is None:
            raise ValueError(f"The quantity {self.name} needs over_seeds for a column or a cost.")

    @property
    def field(self) -> str:
        """Return the name of the top-level field of ``result.json`` that has the value."""
        return self.group or self.name

    @property
    def key(self) -> str:
        """Return its name as an objective or a cost."""
        return self.short or self.name

    @property
    def axis_label(self) -> str:
        """Return its label on an axis, such as ``memory of a step (MiB)``."""
        return with_unit(self.axis or self.title, f"({self.unit})" if self.unit else "")

    @property
    def row_title(self) -> str:
        """Return the title with the unit of tables, such as ``memory of a step MiB``."""
        return with_unit(self.title, self.table_unit)

    @property
    def column_title(self) -> str:
        """Return the head of its column with the unit of tables, such as ``step MiB``."""
        return with_unit(self.column, self.table_unit)

    @property
    def table_unit(self) -> str:
        """Return the unit of its values in tables, which show operations in millions."""
        return "MFLOP" if self.unit == "FLOP" else self.unit

    def of(self, result: Mapping[str, Any]) -> Any:
        """Return the value in the content of a ``result.json``; the default without one."""
        part = (result.get(self.group) or {}) if self.group else result
        value = part.get(self.name.removeprefix(f"{self.group}_"))
        return self.or_default(value)

    def or_default(self, value: Any) -> Any:
        """Return a value; the default in place of None."""
        return self.default if value is None else value

    def combined(self, values: Iterable[float | None]) -> float | None:
        """Return the value over several seeds; None if no seed has one."""
        known = [value for value in values if value is not None]
        if not known or self.over_seeds is None:
            return None
        if self.over_seeds == "mean":
            return math.fsum(known) / len(known)
        return max(known) if self.over_seeds == "largest" else min(known)


def with_unit(title: str, unit: str) -> str:
    """Return a title with a unit behind it, if there is one."""
    return f"{title} {unit}".strip()


QUANTITIES = (
    Quantity("train_error", "%", title="train error", mlflow=""),
    # MLflow has this one as a curve over the epochs.
    Quantity("val_error", "%", title="validation error", mlflow=None, objective=True),
    Quantity("val_error_top5", "%", title="top-5 validation error", optional=True, mlflow=None),
    Quantity("test_error", "%", mlflow=""),
    Quantity("test_error_at_best_val", "%", title="at best validation", mlflow=""),
    Quantity(
        "test_error_top5_at_best_val", "%", title="top-5 error at best validation", optional=True,
        mlflow="",
    ),
    Quantity("test_error_top5", "%", title="top-5 error", optional=True, mlflow=""),
    Quantity("best_epoch", whole=True, mlflow=""),
    Quantity("epochs", whole=True),
    Quantity("steps", whole=True),
    Quantity(
        "seconds_training", "s", group="seconds", over_seeds="mean", title="training",
        column="training", compared=False, short="seconds", objective=True, cost=True,
    ),
    Quantity("seconds_evaluation", "s", group="seconds"),
    Quantity("seconds_other", "s", group="seconds"),
    Quantity(
        "step_ms", "ms", over_seeds="mean", title="step", column="step", ratio="step_ms_ratio",
        axis="a training step", objective=True, cost=True,
    ),
    Quantity("core_share", over_seeds="least"),
    Quantity(
        "step_memory_mib", "MiB", over_seeds="largest", title="memory of a step", column="step",
        ratio="step_memory_ratio", short="step_memory", objective=True, cost=True,
    ),
    Quantity(
        "peak_memory_mib", "MiB", over_seeds="largest", title="peak memory", short="peak_memory",
        objective=True,
    ),
    Quantity(
        "step_flops", "FLOP", over_seeds="largest", title="step", column="step",
        axis="a training step", cost=True,
    ),
    Quantity(
        "predict_flops", "FLOP", over_seeds="largest", title="predict", column="predict",
        axis="predicting an example", cost=True,
    ),
    Quantity("test_reads", whole=True, default=0, mlflow=None),
)  # fmt: skip
"""All measured quantities, in the order of tables and files."""


def unmeasured() -> dict[str, Any]:
    """Return the fields of ``result.json`` for a run of which nothing was measured."""
    return {q.field: None if q.group else q.default for q in QUANTITIES}


def measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every quantity by name, from the content of a ``result.json``."""
    return {quantity.name: quantity.of(result) for quantity in QUANTITIES}
