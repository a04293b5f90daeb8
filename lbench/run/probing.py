"""Probes in a run: when they are asked, and how their rows survive an interruption.

Until the run has ended a probe's rows lie in ``probes/NAME.jsonl``; a checkpoint knows how long
the file was, like the journal's. Then they become ``probes/NAME.parquet``.
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
from lbench.run.raised import reason
from lbench.rundir import RunDir, write_bytes
from lbench.step import Step
from lbench.task import Batch

Aside = Callable[[], AbstractContextManager[None]]
"""What is done inside counts neither as training time nor as memory."""


class Part:
    """Some of the examples, by their index; nothing is copied.

    Args:
        data: all of them.
        indices: int64, on the device.
    """

    def __init__(self, data: DeviceData, indices: Tensor) -> None:
        self.data = data
        self.indices = indices
        self.labels = data.labels[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """As of all of them."""
        return self.data.batch(self.indices[idx])


class Probes:
    """The probes of one run.

    Args:
        names: of their entries.
        scene: what they may look at.
        run_dir: where their rows go.
        note: told when one raises; it then ends, and the run goes on.

    Raises:
        UsageError: a name that nobody has, a rule that cannot be looked at, or no pyarrow.
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
        self._looking: list[Probe] = []
        self._aside: Aside = contextlib.nullcontext

    def attach(self, updates: Mapping[str, Callable[[Grads], None]], aside: Aside) -> None:
        """Attaches the updates to the rule, behind the probes that look at them."""
        self._aside = aside
        if any(_has(probe, "at_update") for probe in self._all):
            updates = {group: self._watched(group, update) for group, update in updates.items()}
        self.rule.attach(updates)

    def before_step(self, batch: Batch, s: Step) -> None:
        """Asks those to which the step is due."""
        self._look([probe for probe in self._all if probe.due(s.index)], s.index + 1, s.epoch + 1)
        self._ask("before_step", batch, s)

    def after_step(self, batch: Batch, s: Step) -> None:
        """Asks those that looked at the step."""
        self._ask("after_step", batch, s)
        self._looking = []

    def epoch_end(self, epoch: int, step: int) -> None:
        """Asks all."""
        self._look(self._all, step, epoch)
        self._ask("epoch_end", epoch, step)
        self._looking = []

    def _look(self, probes: list[Probe], step: int, epoch: int) -> None:
        self._looking = [probe for probe in probes if probe.name not in self._ended]
        for probe in self._looking:
            probe.step, probe.epoch = step, epoch

    def _watched(self, group: str, update: Callable[[Grads], None]) -> Callable[[Grads], None]:
        def watched(grads: Grads) -> None:
            self._ask("at_update", group, grads, evaluating=False)
            update(grads)

        return watched

    def _ask(self, event: str, *arguments: Any, evaluating: bool = True) -> None:
        asked = [probe for probe in self._looking if _has(probe, event)]
        if not asked:
            return
        with self._aside(), torch.no_grad(), _without_autocast(self.rule):
            if evaluating:
                self.rule.eval()
            for probe in asked:
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
        self._looking = [each for each in self._looking if each is not probe]
        self.note(f"Probe {probe.name} ended at step {probe.step}; the run goes on. {why}")

    def save(self) -> dict[str, Any]:
        """Writes the rows so far to files; what a checkpoint keeps of them."""
        kept = {}
        for probe in self._all:
            path = self._rows(probe.name)
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(b"".join(json.dumps(row).encode() + b"\n" for row in probe.rows))
                file.flush()
                os.fsync(file.fileno())
                kept[probe.name] = [file.tell(), self._ended.get(probe.name)]
            probe.rows.clear()
        return kept

    def lacking(self, kept: Mapping[str, Any]) -> str | None:
        """Why a run cannot go on from a checkpoint that kept this; None when it can."""
        for probe in self._all:
            path = self._rows(probe.name)
            if probe.name not in kept:
                return f"Its checkpoint has no rows of probe {probe.name}"
            if (path.stat().st_size if path.exists() else 0) < kept[probe.name][0]:
                return f"{path} lacks rows that its checkpoint has"
        return None

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Goes on behind the rows that a checkpoint kept; later ones will be recorded again."""
        for probe in self._all:
            length, ended = kept[probe.name] if kept else (0, None)
            path = self._rows(probe.name)
            if path.exists():
                os.truncate(path, length)
            if ended is not None:
                self._ended[probe.name] = ended

    def finish(self) -> None:
        """Writes the tables; the files of rows stay until :func:`clear`."""
        self.save()
        for probe in self._all:
            rows = [json.loads(line) for line in self._rows(probe.name).open()]
            table = _parquet({**ALWAYS, **probe.columns}, rows, self._ended.get(probe.name))
            write_bytes(self._folder / f"{probe.name}.parquet", table)

    def _rows(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"


def clear(run_dir: RunDir) -> None:
    """Removes the files of rows: the run has ended, and its tables are written."""
    for path in (run_dir.path / "probes").glob("*.jsonl"):
        path.unlink()


def missing(run_dir: RunDir, probes: Iterable[str]) -> list[str]:
    """Of which of these probes the run has no table."""
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
