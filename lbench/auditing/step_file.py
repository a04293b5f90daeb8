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
"""Seconds after which a slow import is reported."""
GUARD = (
    "Code that trains when the file is imported belongs under: if __name__ == '__main__':\n"
    "Another file can also import the model and the step, and name them there."
)


@dataclass(frozen=True)
class StepFile:
    """The variables of a file that the audit reads.

    Args:
        step: function that is called with the model and the batch.
        model: the model that the step trains.
        batch: (inputs, labels).
        units: what is trained together; None for the model's children.
        predict: function from model and inputs to logits; None for calling the model.
        claims: claims to compare the measurements with; None for no claims.
    """

    step: StepFunction
    model: nn.Module
    batch: tuple[Tensor, Tensor]
    units: Units | None
    predict: Predict | None
    claims: Claims | None


def load_step(text: str, *, seed: int, say: Callable[[str], None]) -> StepFile:
    """Import the file and return the variables that the audit needs.

    As for ``python FILE.py``, the file can import modules of its folder, and ``sys.argv`` has only
    its name; but ``__name__`` is not ``__main__``.

    Args:
        text: ``FILE.py:FUNCTION``.
        seed: seed of the global generators during the import, and so of the model's weights.
        say: called with a sentence when the import takes long.

    Raises:
        UsageError: the file cannot be imported, has no such function, model or batch, or these do
            not fit together.
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
    variables = vars(module)
    model = _model(variables, path)
    return StepFile(
        _step(variables, function, path),
        model,
        _batch(variables, path),
        _units(variables.get("units"), path),
        _predict(variables.get("predict"), path),
        _claims(variables.get("claims"), path),
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
        with _reporting_delay(path, say):
            return execute(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = f"Modules are searched in {path.parent} and in this Python's packages."
        elif isinstance(error, SystemExit):
            hint = f"The file ends the process when it is imported. {GUARD}"
        raise UsageError(f"{described(error, path)}", hint) from error
    finally:
        sys.argv = arguments


@contextlib.contextmanager
def _reporting_delay(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Report once the line at which an import is if it takes long."""
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
    """Return the innermost line of a file in this folder that a thread is executing."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.parent == path.parent:
            return f", at {file.name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def _step(variables: Mapping[str, Any], name: str, path: Path) -> StepFunction:
    step: StepFunction | None = variables.get(name)
    if step is None:
        functions = [n for n, value in variables.items() if inspect.isfunction(value)]
        near = nearest(name, functions) or functions
        hint = f"It has {', '.join(near)}." if near else "It has no functions."
        raise UsageError(f"{path.name} has no function {name!r}.", hint)
    if not callable(step):
        raise UsageError(f"{name} in {path.name} is {_kind(step)}, not a function.")
    try:
        signature = inspect.signature(step)
    except ValueError:  # a compiled function has no signature
        return step
    try:
        signature.bind(None, None)
    except TypeError:
        raise UsageError(
            f"{name}{signature} in {path.name} cannot be called as {name}(model, batch).",
            "Write a function around it: def step(model, batch): x, y = batch; …",
        ) from None
    return step


def _model(variables: Mapping[str, Any], path: Path) -> nn.Module:
    model = variables.get("model")
    if isinstance(model, nn.Module):
        return model
    others = [name for name, value in variables.items() if isinstance(value, nn.Module)]
    hint = f"It has {', '.join(others)}; write: model = {others[0]}" if others else (
        "Write in it: model = Net(), with the module that the step trains."
    )  # fmt: skip
    if model is None:
        raise UsageError(f"{path.name} has no variable model.", hint)
    raise UsageError(f"model in {path.name} is {_kind(model)}, not a torch.nn.Module.", hint)


def _batch(variables: Mapping[str, Any], path: Path) -> tuple[Tensor, Tensor]:
    batch = variables.get("batch")
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
