"""The kits of datasets, networks and probes: their checks, and test classes for plugins."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lbench.testing import dataset_checks, network_checks, probe_checks
from lbench.testing.checks import Check, Outcome, outcome_of
from lbench.testing.part_subject import (
    DatasetSubject,
    NetworkSubject,
    PartSubject,
    ProbeSubject,
)

SUBJECTS: dict[str, type[PartSubject]] = {
    "dataset": DatasetSubject,
    "network": NetworkSubject,
    "probe": ProbeSubject,
}
PART_CHECKS: dict[str, tuple[Check, ...]] = {
    "dataset": tuple(map(Check, dataset_checks.CHECKS)),
    "network": tuple(map(Check, network_checks.CHECKS)),
    "probe": tuple(map(Check, probe_checks.CHECKS)),
}
"""The checks by kind, in the order of tables."""


def conform_part(kind: str, subject: PartSubject) -> Iterator[Outcome]:
    """Yield the outcome of each check of a dataset, network or probe, one after the other."""
    for check in PART_CHECKS[kind]:
        yield outcome_of(check, subject)


class PartConformance:
    """Base of the test classes; pytest runs a subclass whose name begins with ``Test``.

    Class attributes:
        name: the name of an installed dataset, network or probe.
        options: options that differ from its defaults.
        data_dir: the directory of a dataset's files.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    data_dir: ClassVar[Path | None] = None


class DatasetConformance(PartConformance):
    """A test class with every check of datasets."""

    kind = "dataset"


class NetworkConformance(PartConformance):
    """A test class with every check of networks."""

    kind = "network"


class ProbeConformance(PartConformance):
    """A test class with every check of probes."""

    kind = "probe"


def _test(check: Check) -> Callable[[PartConformance], None]:
    def test(self: PartConformance) -> None:
        subject = SUBJECTS[self.kind](self.name, self.options, self.data_dir)
        outcome = outcome_of(check, subject)
        if outcome.status == "failed":
            raise AssertionError(outcome.detail) from outcome.error
        if outcome.status != "passed":
            raise unittest.SkipTest(outcome.detail)

    test.__doc__ = check.claim
    return test


for _kit in (DatasetConformance, NetworkConformance, ProbeConformance):
    for _check in PART_CHECKS[_kit.kind]:
        setattr(_kit, f"test_{_check.name}", _test(_check))
