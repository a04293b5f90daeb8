"""The conformance kit: one list of checks of rules, for test suites and for ``lbench check``."""

from __future__ import annotations

from lbench.testing.checks import CHECKS, Check, Outcome, conform, examine
from lbench.testing.conformance import RuleConformance
from lbench.testing.parts import (
    PART_CHECKS,
    SUBJECTS,
    DatasetConformance,
    NetworkConformance,
    ProbeConformance,
    conform_part,
)
from lbench.testing.subject import FailedError, SkippedError, Subject

__all__ = [
    "CHECKS",
    "PART_CHECKS",
    "SUBJECTS",
    "Check",
    "DatasetConformance",
    "FailedError",
    "NetworkConformance",
    "Outcome",
    "ProbeConformance",
    "RuleConformance",
    "SkippedError",
    "Subject",
    "conform",
    "conform_part",
    "examine",
]
