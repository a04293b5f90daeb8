"""The probes of a run: the calls to them, and their rows, which survive an interruption.

During the run a probe's rows are in ``probes/NAME.jsonl``; a checkpoint has the length of this
file, like that of the epoch log. At the end they become ``probes/NAME.parquet``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbench.data.loader import DeviceData
from lbench.errors import UsageError
from lbench.probe import ALWAYS, Column, Probe, Scene
from lbench.registry import registry
from lbench.rule import Grads, Rule
from lbench.rundir import RunDir, write_bytes
from lbench.step import Step
from lbench.task import Batch
from lbench.training.plugin_errors import reason

Uncounted = Callable[[], AbstractContextManager[None]]
"""A context that counts neither as training time nor as memory."""


class Part:
    """A subset of examples, by their indices; nothing is copied.

    Args:
        data: all examples.
        indices: indices of the subset, int64, on the device.
    """

    def __init__(self, data: DeviceData, indices: Tensor) -> None:
        self.data = data
        self.indices = indices
        self.labels = data.labels[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels at these indices of the subset."""
        return self.data.batch(self.indices[idx])


class Probes:
    """The probes of one run.

    Args:
        names: names of the probes' registry entries.
        scene: what the probes may read.
        run_dir: run directory, which gets their rows.
        note: called when a probe raises; the probe then ends, and the run continues.

    Raises:
        UsageError: there is no probe of a name, the probe does not fit the rule, or pyarrow is
            missing.
    """

    def __init__(
        self, names: Sequence[str], scene: Scene, run_dir: RunDir, note: Callable[[str], None]
    ) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise UsageError(
                "Probes write parquet, for which pyarrow is missing.",
                "Install it: python -m pip install pyarrow",
            )
        self.rule = scene.rule
        self.note = note
        self._folder = run_dir.path / "probes"
        self._all: list[Probe] = []
        for name in dict.fromkeys(names):
            cls: type[Probe] = registry().load("probes", name)
            self._all.append(cls(name, scene))
        self._ended: dict[str, str] = {}
        self._active: list[Probe] = []
        self._uncounted: Uncounted = contextlib.nullcontext

    def attach(self, updates: Mapping[str, Callable[[Grads], None]], uncounted: Uncounted) -> None:
        """Attach the updates to the rule, each after a call of the probes that observe it."""
        self._uncounted = uncounted
        if any(_has(probe, "at_update") for probe in self._all):
            updates = {group: self._observed(group, update) for group, update in updates.items()}
        self.rule.attach(updates)

    def before_step(self, batch: Batch, s: Step) -> None:
        """Call the probes that are due at this step, before it."""
        due = [probe for probe in self._all if probe.due(s.index)]
        self._activate(due, s.index + 1, s.epoch + 1)
        self._call("before_step", batch, s)

    def after_step(self, batch: Batch, s: Step) -> None:
        """Call the probes of this step after it."""
        self._call("after_step", batch, s)
        self._active = []

    def epoch_end(self, epoch: int, step: int) -> None:
        """Call all probes at the end of an epoch."""
        self._activate(self._all, step, epoch)
        self._call("epoch_end", epoch, step)
        self._active = []

    def _activate(self, probes: list[Probe], step: int, epoch: int) -> None:
        self._active = [probe for probe in probes if probe.name not in self._ended]
        for probe in self._active:
            probe.step, probe.epoch = step, epoch

    def _observed(self, group: str, update: Callable[[Grads], None]) -> Callable[[Grads], None]:
        def observed(grads: Grads) -> None:
            self._call("at_update", group, grads, evaluating=False)
            update(grads)

        return observed

    def _call(self, event: str, *arguments: Any, evaluating: bool = True) -> None:
        probes = [probe for probe in self._active if _has(probe, event)]
        if not probes:
            return
        with self._uncounted(), torch.no_grad(), _without_autocast(self.rule):
            if evaluating:
                self.rule.eval()
            for probe in probes:
                try:
                    getattr(probe, event)(*arguments)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._end(probe, error)
            if evaluating:
                self.rule.train()

    def _end(self, probe: Probe, error: BaseException) -> None:
        why = reason(error)
        self._ended[probe.name] = f"step {probe.step}: {why}"
        self._active = [other for other in self._active if other is not probe]
        self.note(f"Probe {probe.name} ended at step {probe.step}; the run continues. {why}")

    def save(self) -> dict[str, Any]:
        """Append the rows so far to their files, and return what a checkpoint stores of them."""
        state = {}
        for probe in self._all:
            path = self._rows(probe.name)
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(b"".join(json.dumps(row).encode() + b"\n" for row in probe.rows))
                file.flush()
                os.fsync(file.fileno())
                state[probe.name] = [file.tell(), self._ended.get(probe.name)]
            probe.rows.clear()
        return state

    def lacking(self, state: Mapping[str, Any]) -> str | None:
        """Return why a run cannot continue from a checkpoint with this state; None if it can."""
        for probe in self._all:
            path = self._rows(probe.name)
            if probe.name not in state:
                return f"Its checkpoint has no rows of probe {probe.name}"
            if (path.stat().st_size if path.exists() else 0) < state[probe.name][0]:
                return f"{path} lacks rows that its checkpoint has"
        return None

    def restore(self, state: Mapping[str, Any]) -> None:
        """Drop the rows after a checkpoint with this state; they will be recorded again."""
        for probe in self._all:
            length, ended = state[probe.name] if state else (0, None)
            path = self._rows(probe.name)
            if path.exists():
                os.truncate(path, length)
            if ended is not None:
                self._ended[probe.name] = ended

    def finish(self) -> None:
        """Write the tables; the files of rows stay until :func:`clear_probe_rows`."""
        self.save()
        for probe in self._all:
            rows = [json.loads(line) for line in self._rows(probe.name).open()]
            table = _parquet({**ALWAYS, **probe.columns}, rows, self._ended.get(probe.name))
            write_bytes(self._folder / f"{probe.name}.parquet", table)

    def _rows(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"


def clear_probe_rows(run_dir: RunDir) -> None:
    """Remove the files of rows, after the run has ended and its tables are written."""
    for path in (run_dir.path / "probes").glob("*.jsonl"):
        path.unlink()


def missing(run_dir: RunDir, probes: Iterable[str]) -> list[str]:
    """Return those of the probes that have no table in the run directory."""
    return [name for name in probes if not run_dir.probe(name).exists()]


def _has(probe: Probe, event: str) -> bool:
    return getattr(type(probe), event) is not getattr(Probe, event)


@contextlib.contextmanager
def _without_autocast(rule: Rule) -> Iterator[None]:
    with torch.autocast(next(rule.parameters()).device.type, enabled=False):
        yield


def _parquet(columns: Mapping[str, Column], rows: list[dict[str, Any]], ended: str | None) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    plain = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    kinds = {**plain, "list[int]": pa.list_(pa.int64()), "list[float]": pa.list_(pa.float64())}
    schema = pa.schema(
        [(name, kinds[column.kind]) for name, column in columns.items()],
        metadata={"ended": ended} if ended else None,
    )
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()
