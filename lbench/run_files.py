"""Models of the JSON files in a run directory, with which their content is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from lbench.quantities import QUANTITIES, Quantity

Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number that fits into the integers of a database."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Finding(_Part):
    claimed: Any = None
    measured: Any = None


class _Result(_Part):
    status: Literal["finished", "diverged", "failed", "pruned"]
    reason: str | None = None
    ended: float
    audit: dict[str, _Finding] | None = None
    contradictions: list[str] | None = None

    @pydantic.model_validator(mode="after")
    def _finished_runs_have_an_error(self) -> _Result:
        # The run of a trial finishes without reading the test set; its test_error is null.
        values = dict(self)
        if self.status == "finished" and values["test_error"] is None:
            if "test_error" not in self.model_fields_set:
                raise ValueError("test_error is missing")
            if values["test_reads"]:
                raise ValueError("test_error is null, although the test set was read")
        return self


def _field(quantity: Quantity) -> Any:
    if quantity.group:
        return dict[str, float | None] | None, None
    kind: Any = Percent if quantity.unit == "%" else Count if quantity.whole else float
    return kind | None, None


_FIELDS: dict[str, Any] = {quantity.field: _field(quantity) for quantity in QUANTITIES}
Result = pydantic.create_model("Result", __base__=_Result, **_FIELDS)
"""The content of ``result.json``; other versions of lbench may write more or fewer fields.

A run without this file is running or was killed. A run that a search has pruned has a checkpoint
and can continue.
"""


class _Rule(_Part):
    name: str
    code: str


class _Network(_Part):
    name: str
    blocks: Count | None = None


class _Task(_Part):
    dataset: str
    protocol: str


class _Cell(_Part):
    rule: _Rule
    network: _Network
    task: _Task


class _Data(_Part):
    title: str
    variant: str
    digest: str
    test: Count | None = None


class _Params(_Part):
    inf: Count | None = None
    aux: Count | None = None
    fix: Count | None = None


class Spec(_Part):
    """The content of ``spec.json``."""

    fingerprint: str
    cell: str
    cell_id: str
    attempt: Count
    seed: Count
    spec: _Cell
    data: _Data
    params: _Params | None = None
    claims: dict[str, Any] | None = None
    per_block: dict[str, list[float]] | None = None
    environment: dict[str, Any] | None = None
    started: float | None = None


def problem(model: type[BaseModel], content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the content of a file, as a sentence; None if it is right."""
    try:
        model.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        return f"{where}: {what[:1].lower()}{what[1:]}" if where else what
    return None
