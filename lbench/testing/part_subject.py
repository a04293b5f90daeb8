"""Datasets, networks and probes under examination."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lbench.data.dataset import Dataset, Location, MissingDataError, Raw
from lbench.data.source import Source
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.probe import Probe
from lbench.registry import registry
from lbench.testing.subject import FailedError, SkippedError

SHAPES = ((1, 8, 8), (3, 8, 8), (3, 32, 32))
"""Shapes of inputs on which a network is examined, as far as it accepts them."""
CLASSES = 5


class PartSubject:
    """An installed dataset, network or probe with its options.

    Args:
        name: its name in the registry.
        options: options that differ from its defaults.
        data_dir: the directory of a dataset's files.
    """

    kind: str

    def __init__(
        self, name: str, options: Mapping[str, Any] | None = None, data_dir: Path | None = None
    ) -> None:
        self.name = name
        self.entry: Any = registry().find(self.kind, name)
        self.cls: type[Any] = registry().load(self.kind, name)
        self.options = dict(options or {})
        self.data_dir = data_dir


class DatasetSubject(PartSubject):
    """A dataset under examination."""

    kind = "datasets"

    def source(self) -> Source:
        """Return a new source with the options."""
        source: Source = self.cls(**self.options)
        return source

    @functools.cached_property
    def location(self) -> Location:
        """Return where the raw files are.

        Raises:
            SkippedError: they were not found.
        """
        try:
            return self.source().find(self.data_dir)
        except MissingDataError as error:
            raise SkippedError("the data was not found") from error

    def opened(self) -> Raw | Dataset:
        """Return the data as decoded now; images that are streamed stay in their files."""
        source = self.source()
        if not source.streams(self.location):
            return source.decode(self.location)
        with tempfile.TemporaryDirectory() as folder:
            return source.open(self.location, folder)


class NetworkSubject(PartSubject):
    """A network under examination."""

    kind = "networks"

    @functools.cached_property
    def spec(self) -> NetworkSpec:
        """Return the options, checked."""
        return network_spec(self.entry, self.cls, self.options)

    def build(self, shape: tuple[int, int, int], seed: int = 0, dropout: float = 0.0) -> Network:
        """Return the network with the initial weights of a seed."""
        return self.spec.build(Init(seed), shape, CLASSES, dropout)

    @functools.cached_property
    def shape(self) -> tuple[int, int, int]:
        """Return the first of the shapes that the network accepts.

        Raises:
            SkippedError: it accepts none.
        """
        for shape in SHAPES:
            try:
                self.build(shape)
            except UsageError:
                continue
            return shape
        raise SkippedError("the network accepts none of the kit's shapes")

    def batch(self, size: int = 6) -> Tensor:
        """Return random images."""
        return torch.randn(size, *self.shape, generator=torch.Generator().manual_seed(1))


class ProbeSubject(PartSubject):
    """A probe under examination."""

    kind = "probes"
    cls: type[Probe]


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, NumPy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def states() -> tuple[bytes, str, str]:
    """Return the states of the global generators of torch, NumPy and random."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),
        repr(random.getstate()),
    )


def round_trip(options: Any, cls: type[Any], what: str) -> None:
    """Check that options survive being written as JSON and read.

    Raises:
        FailedError: they do not.
    """
    again = cls.model_validate_json(options.model_dump_json())
    if again != options:
        raise FailedError(f"options of {what} change when they are written and read")
