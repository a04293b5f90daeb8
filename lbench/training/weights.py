"""Weights of a run as a safetensors file, with the information that a prediction needs.

The file can be read without lbench: ``safetensors.torch.load_file(path)`` returns the tensors by
the names of the rule's ``state_dict``. The metadata has two entries: ``lbench``, JSON with the
configuration, the seed, the input's shape and its standardisation; and ``sha256``, the checksum of
tensors and JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from lbench.rundir import write_bytes
from lbench.training.resolve import Resolved

LAST = "weights.safetensors"
"""The weights after the last step."""
BEST = "weights-best-val.safetensors"
"""The weights at the epoch of lowest validation error."""
_KEY, _CHECKSUM = "lbench", "sha256"


def description(resolved: Resolved, seed: int) -> dict[str, Any]:
    """Return the description that a file of weights has in addition to the tensors, as JSON.

    ``shape`` is (channels, height, width) of an image; ``mean`` and ``std`` are per channel, of
    pixels divided by 255, or None where images are not standardised.
    """
    cell, data = resolved.cell, resolved.dataset
    moments = (list(data.mean), list(data.std)) if resolved.source.standardize else (None, None)
    return {
        "cell": cell.id,
        "seed": seed,
        "spec": cell.spec(),
        "shape": list(cell.task.shape),
        "classes": cell.task.classes,
        "mean": moments[0],
        "std": moments[1],
    }


def write_weights(path: Path, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a rule's ``state_dict``; after a crash the file is the old one or the complete new one.

    Args:
        path: path of the file.
        state: tensors by name; extra state that is no tensor must be JSON.
        about: the result of :func:`description`.
    """
    # The format has no tensors that share memory, as tied weights do, so they are copied.
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    extra = {name: value for name, value in state.items() if name not in tensors}
    content = json.dumps({"about": dict(about), "extra": extra}, sort_keys=True)
    metadata = {_KEY: content, _CHECKSUM: _checksum(tensors, content)}
    write_bytes(path, save(tensors, metadata))


def read_weights(path: Path) -> dict[str, Any]:
    """Return the ``state_dict`` in a file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    return read_file(path)[0]


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ``state_dict`` in a file, on the CPU, and its :func:`description`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    with path.open("rb"):  # safetensors reports a missing file in other words
        pass
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        content: dict[str, Any] = json.loads(metadata[_KEY])
        intact = metadata[_CHECKSUM] == _checksum(tensors, metadata[_KEY])
    except (safetensors.SafetensorError, OSError, ValueError, LookupError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not intact:
        raise ValueError(f"{path} is damaged: its checksum does not match.")
    return {**tensors, **content["extra"]}, content["about"]


def _checksum(tensors: Mapping[str, Tensor], content: str) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
