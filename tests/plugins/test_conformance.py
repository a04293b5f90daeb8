"""Every installed rule keeps what every rule promises."""

from __future__ import annotations

import pytest

from lbench.registry import registry
from lbench.testing import RuleConformance, Subject, conform

# Of the code that these hundreds of tests run, each room's own tests show what is covered.
pytestmark = pytest.mark.no_cover

for name in registry().rules:
    globals()[f"Test_{name}"] = type(f"Test_{name}", (RuleConformance,), {"rule": name})


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(registry().rules))
def test_on_every_network(rule: str) -> None:
    failed = [each for each in conform(Subject(rule, quick=False)) if each.status == "failed"]
    assert not failed
