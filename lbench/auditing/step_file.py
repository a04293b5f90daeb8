"""A training step that a file names, with its model and batch: ``lbench audit --step``."""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lbench.auditing.step_subject import Predict, StepFunction, Units
from lbench.claims import Claims
from lbench.errors import UsageError, nearest
from lbench.plugin_file import RENAME, described, execute, name_problem

PATIENCE = 5.0
"""Seconds after which an import is said to take long."""
GUARD = (
    "What trains when the file is imported belongs under: if __name__ == '__main__':\n"
    "Another file can also import the model and the step, and name them there."
)


@dataclass(frozen=True)
class StepFile:
    """What a file gives the audit, by the names of its variables.

    Args:
        step: called with the model and the batch.
        model: what the step trains.
        batch: (inputs, labels).
        units: what is trained together; None for the model's children.
        predict: from the model and inputs to logits; None for calling the model.
        claims: what to compare the measurements with; None for no claims.
    """

    step: StepFunction
    model: nn.Module
    batch: tuple[Tensor, Tensor]
    units: Units | None
    predict: Predict | None
    claims: Claims | None


def load_step(text: str, *, seed: int, say: Callable[[str], None]) -> StepFile:
    """Import the file and take from it what the audit needs.

    Modules in the file's folder can be imported from it, and ``sys.argv`` has no more than its
    name, as for ``python FILE.py``; but ``__name__`` is the file's own.

    Args:
        text: ``FILE.py:FUNCTION``.
        seed: of the global generators while the file is imported, so of the model's weights.
        say: called with a sentence when the import takes long.

    Raises:
        UsageError: there is no such file, function, model or batch, they do not fit each other,
            or the file cannot be imported.
    """
    name, _, function = text.rpartition(":")
    if not name or not function.isidentifier():
        raise UsageError(
            f"--step takes a file and a function, but got {text!r}.",
            "Write it as FILE.py:FUNCTION, such as audit_net.py:step.",
        )
    path = Path(name).resolve()
    if not path.is_file():
        raise UsageError(f"There is no file {name}.", "Give its path from this directory.")
    module = _imported(path, seed, say)
    found = vars(module)
    model = _model(found, path)
    return StepFile(
        _step(found, function, path),
        model,
        _batch(found, path),
        _units(found.get("units"), path),
        _predict(found.get("predict"), path),
        _claims(found.get("claims"), path),
    )


def _imported(path: Path, seed: int, say: Callable[[str], None]) -> ModuleType:
    if problem := name_problem(path):
        raise UsageError(f"File {problem}", RENAME)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    arguments = sys.argv
    # The folder stays on the path: a step may import when it is called.
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path)]
    try:
        with _watched(path, say):
            return execute(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = f"Modules are looked for in {path.parent} and in this Python's packages."
        elif isinstance(error, SystemExit):
            hint = f"The file ends the process when it is imported. {GUARD}"
        raise UsageError(f"{described(error, path)}", hint) from error
    finally:
        sys.argv = arguments


@contextlib.contextmanager
def _watched(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Say once which line an import is at when it takes long."""
    thread = threading.get_ident()

    def late() -> None:
        line = _line(thread, path)
        say(f"{path.name} is still being imported after {PATIENCE:g} s{line}. {GUARD}")

    timer = threading.Timer(PATIENCE, late)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _line(thread: int, path: Path) -> str:
    """Return the innermost line, of files in this folder, at which a thread is."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.parent == path.parent:
            return f", at {file.name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def _step(found: Mapping[str, Any], name: str, path: Path) -> StepFunction:
    step: StepFunction | None = found.get(name)
    if step is None:
        functions = [n for n, each in found.items() if inspect.isfunction(each)]
        near = nearest(name, functions) or functions
        hint = f"It has {', '.join(near)}." if near else "It has no functions."
        raise UsageError(f"{path.name} has no function {name!r}.", hint)
    if not callable(step):
        raise UsageError(f"{name} in {path.name} is {_kind(step)}, not a function.")
    try:
        takes = inspect.signature(step)
    except ValueError:  # of a compiled function nothing is known
        return step
    try:
        takes.bind(None, None)
    except TypeError:
        raise UsageError(
            f"{name}{takes} in {path.name} cannot be called as {name}(model, batch).",
            "Write a function around it: def step(model, batch): x, y = batch; …",
        ) from None
    return step


def _model(found: Mapping[str, Any], path: Path) -> nn.Module:
    model = found.get("model")
    if isinstance(model, nn.Module):
        return model
    others = [name for name, each in found.items() if isinstance(each, nn.Module)]
    hint = f"It has {', '.join(others)}; write: model = {others[0]}" if others else (
        "Write in it: model = Net(), with the module that the step trains."
    )  # fmt: skip
    if model is None:
        raise UsageError(f"{path.name} has no variable model.", hint)
    raise UsageError(f"model in {path.name} is {_kind(model)}, not a torch.nn.Module.", hint)


def _batch(found: Mapping[str, Any], path: Path) -> tuple[Tensor, Tensor]:
    batch = found.get("batch")
    hint = "Write in it: batch = inputs, labels, two tensors with a row per example, 14 or more."
    if batch is None:
        raise UsageError(f"{path.name} has no variable batch.", hint)
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise UsageError(
            f"batch in {path.name} is {_kind(batch)}{size}, not a pair (inputs, labels).", hint
        )
    for what, tensor in zip(("inputs", "labels"), batch, strict=True):
        if not isinstance(tensor, Tensor) or tensor.dim() == 0:
            kind = "a tensor without rows" if isinstance(tensor, Tensor) else _kind(tensor)
            raise UsageError(f"The {what} of batch in {path.name} are {kind}.", hint)
    x, y = batch
    if len(x) != len(y):
        raise UsageError(f"batch in {path.name} has {len(x)} inputs, but {len(y)} labels.", hint)
    return x, y


def _units(units: Any, path: Path) -> Units | None:
    if units is None:
        return None
    hint = "Write in it: units = {'block1': [model.conv1, model.head1], 'block2': [model.conv2]}"
    if not isinstance(units, Mapping):
        raise UsageError(f"units in {path.name} is {_kind(units)}, not a dictionary.", hint)
    for name, modules in units.items():
        if not isinstance(modules, Sequence) or not all(isinstance(m, nn.Module) for m in modules):
            raise UsageError(f"units[{name!r}] in {path.name} is no list of modules.", hint)
    return units


def _predict(predict: Predict | None, path: Path) -> Predict | None:
    if predict is None or callable(predict):
        return predict
    raise UsageError(
        f"predict in {path.name} is {_kind(predict)}, not a function.",
        "Write in it: def predict(model, inputs), which returns logits.",
    )


def _claims(claims: Any, path: Path) -> Claims | None:
    if claims is None or isinstance(claims, Claims):
        return claims
    raise UsageError(
        f"claims in {path.name} is {_kind(claims)}, not lbench.Claims.",
        "Write in it: claims = lbench.Claims(transport='none', backward_depth=0)",
    )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
