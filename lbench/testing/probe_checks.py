"""Checks of probes, by real runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from lbench.errors import UsageError
from lbench.execute.driver import RunOutcome, run_cell
from lbench.home import Home
from lbench.probe import ALWAYS, Column
from lbench.registry import registry
from lbench.rundir import RunDir
from lbench.testing.part_subject import ProbeSubject
from lbench.testing.practice import SilentReporter
from lbench.testing.subject import FailedError, SkippedError, differing, listed
from lbench.training.job import Machine
from lbench.training.resolve import Request, resolve
from lbench.training.weights import LAST, read_weights

KINDS = ("int", "float", "str", "list[int]", "list[float]")
DATASETS = ("digits", "split-digits")
"""Datasets on which a probe is tried: one task, and a sequence of tasks."""


def columns_are_declared(subject: ProbeSubject) -> str:
    """Check that the probe declares columns with kinds and titles, but neither step nor epoch."""
    columns = subject.cls.columns
    if not columns:
        raise FailedError("the probe declares no columns")
    for name, column in columns.items():
        if not isinstance(column, Column) or column.kind not in KINDS or not column.title:
            raise FailedError(f"column {name!r} has no title, or another kind than {KINDS}")
        if name in ALWAYS:
            raise FailedError(f"column {name!r} is in every table already")
    return ", ".join(columns)


def the_run_stays_the_same(subject: ProbeSubject) -> str:
    """Check that a run with the probe has the same weights and epoch log, and a table with rows."""
    with tempfile.TemporaryDirectory() as folder:
        rule, dataset, probed = _probed(subject, Path(folder, "probed"))
        plain = _run(rule, dataset, (), Path(folder, "plain"))
        for outcome in (plain, probed):
            if outcome.result["status"] != "finished":
                raise FailedError(f"a run of {rule} on {dataset} ends as {outcome.result}")
        weights = [read_weights(outcome.run_dir / LAST) for outcome in (plain, probed)]
        if names := differing(*weights):
            raise FailedError(f"the run ends with another {listed(names)}")
        for one, other in zip(_epochs(plain), _epochs(probed), strict=True):
            if names := differing(one, other):
                raise FailedError(f"epoch {one['epoch']} has another {listed(names)}")
        return f"{rule} on {dataset}: {_rows(subject, probed)} rows"


def _rows(subject: ProbeSubject, outcome: RunOutcome) -> int:
    """Return the number of rows of the table.

    Raises:
        FailedError: the probe ended early, has no rows, or other columns than it declares.
    """
    from pyarrow import parquet

    table = parquet.read_table(RunDir(outcome.run_dir).probe(subject.name))
    if ended := (table.schema.metadata or {}).get(b"ended"):
        raise FailedError(f"the probe ended early: {ended.decode()}")
    if table.column_names != [*ALWAYS, *subject.cls.columns]:
        raise FailedError(f"its table has the columns {', '.join(table.column_names)}")
    if not table.num_rows:
        raise FailedError("its table has no rows")
    return int(table.num_rows)


def _probed(subject: ProbeSubject, home: Path) -> tuple[str, str, RunOutcome]:
    """Return rule, dataset and outcome of a run with the probe, of the first rule that it accepts.

    Raises:
        SkippedError: it refuses all of them.
    """
    first, refusal = registry().reference("rules"), ""
    rules = dict.fromkeys([*filter(None, [first]), *registry().rules])
    for dataset in DATASETS:
        for rule in rules:
            try:
                return rule, dataset, _run(rule, dataset, (subject.name,), home / rule / dataset)
            except UsageError as error:
                refusal = refusal or error.message
    raise SkippedError(f"the probe refuses all rules on {' and '.join(DATASETS)}: {refusal}")


def _run(rule: str, dataset: str, probes: tuple[str, ...], home: Path) -> RunOutcome:
    """Train for two epochs; of a sequence, one per task."""
    epochs, options = (2, {}) if dataset == "digits" else (1, {"tasks": 2})
    resolved = resolve(Request(rule, dataset, epochs=epochs, data_options=options), registry())
    machine = Machine(torch.device("cpu"), threads=1, checkpoint_every=1e9, audit=False)
    (outcome,) = run_cell(
        resolved, [0], Home(home), machine, lambda seed: SilentReporter(), None, probes=probes
    )
    return outcome


def _epochs(outcome: RunOutcome) -> list[dict[str, object]]:
    rows = RunDir(outcome.run_dir).epochs()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


CHECKS = (columns_are_declared, the_run_stays_the_same)
"""The checks in the order of tables."""
