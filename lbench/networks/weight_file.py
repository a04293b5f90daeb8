"""Files of weights: state dicts of PyTorch, and safetensors."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbench.errors import UsageError

WRAPPERS = ("state_dict", "model", "module")
"""Names under which a file may have the state dict beside other values."""
PREFIXES = ("module.", "network.", "model.")
"""Prefixes of all names, from models inside of others."""


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"The file of weights {str(path)!r} cannot be read: {error.strerror}.",
            "Give --encoder a file with a state dict, such as resnet50.pth or model.safetensors.",
        ) from error


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by their names.

    A state dict of PyTorch is read without running code. It may be a value of a dictionary with
    other values beside it, and its names may have a common prefix.

    Raises:
        UsageError: the file is neither a state dict nor safetensors.
    """
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"The file of weights {str(path)!r} cannot be read: {detail.removesuffix('.')}.",
            "Save a state dict: torch.save(model.state_dict(), path), or a .safetensors file.",
        ) from error
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise _no_state_dict(path, type(content).__name__)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _no_state_dict(path, f"{name!r}: {type(value).__name__}")
    state = dict(content)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _pickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _no_state_dict(path: Path, content: str) -> UsageError:
    return UsageError(
        f"The file of weights {str(path)!r} has no state dict, but {content}.",
        "Save one with: torch.save(model.state_dict(), path)",
    )
