"""Encoder: the given weights with which a configuration's network begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lbench.errors import UsageError
from lbench.networks.given_weights import changed
from lbench.networks.spec import NetworkSpec
from lbench.networks.weight_file import read, sha256
from lbench.rule import Rule


@dataclass(frozen=True, slots=True)
class Encoder:
    """A file of weights for all layers of a network but those behind its encoder.

    Args:
        path: the file; its place is no part of the configuration.
        sha256: the SHA-256 (hex) of its content.
        frozen: whether the encoder keeps these weights.
    """

    path: Path
    sha256: str
    frozen: bool

    @classmethod
    def of(cls, path: Path, *, frozen: bool) -> Encoder:
        """Return the encoder in a file.

        Raises:
            UsageError: the file cannot be read.
        """
        return cls(path, sha256(path), frozen)

    def spec(self) -> dict[str, Any]:
        """Return what the fingerprint covers."""
        return {"sha256": self.sha256, "trained": not self.frozen}

    def read(self) -> dict[str, Tensor]:
        """Return the tensors of the file by their names.

        Raises:
            UsageError: the file cannot be read, or its content has changed.
        """
        if sha256(self.path) != self.sha256:
            raise UsageError(
                f"The file of weights {str(self.path)!r} has changed since the command began.",
                "Run the command again to train with the new content.",
            )
        return read(self.path)

    def check_kept(
        self, rule: Rule, name: str, spec: NetworkSpec, state: dict[str, Tensor]
    ) -> None:
        """Check that a rule has not replaced the weights when it was made.

        Raises:
            UsageError: it has.
        """
        if not self.frozen and (layer := changed(rule.network, spec, state)):
            raise UsageError(
                f"--encoder cannot act: rule {name} begins with other weights of its own, for "
                f"example in {layer!r}.",
                "Add --freeze-encoder, which leaves the encoder out of the rule, or choose "
                "another rule.",
            )
