"""Check that the probes of a study fit its rules and data, before any training."""

from __future__ import annotations

import numpy as np
import torch

from lbench.data.loader import DeviceData
from lbench.errors import UsageError
from lbench.probe import Probe, Scene
from lbench.randomness import Randomness
from lbench.registry import Registry
from lbench.studies.study_plan import StudyPlan


def check_probes(plan: StudyPlan, registry: Registry) -> None:
    """Create each probe for each combination of rule, dataset and network.

    Raises:
        UsageError: a probe cannot measure the runs at a point. The message names both.
    """
    probes: dict[str, type[Probe]] = {
        name: registry.load("probes", name) for name in plan.study.probes
    }
    checked = set()
    for point in plan.points if probes else ():
        kind = (point.rule, point.dataset, point.network)
        if kind in checked:
            continue
        checked.add(kind)
        resolved = plan.resolved[point.key]
        data = resolved.dataset
        example = DeviceData.of(data.train, np.arange(1), torch.device("cpu"))
        ends = range(1, len(data.segments) + 1)
        scene = Scene(resolved.cell.build(0), example, example, Randomness(0), 1, 1, ends)
        for name, cls in probes.items():
            try:
                cls(name, scene)
            except UsageError as error:
                raise UsageError(f"At {point.key}: {error.message}", error.hint) from None
            except Exception:
                # The runs report a probe that fails and continue without it.
                continue
