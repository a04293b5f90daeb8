"""Whether a study's probes fit its rules and data, before anything is trained."""

from __future__ import annotations

import numpy as np
import torch

from lbench.data.loader import DeviceData
from lbench.errors import UsageError
from lbench.probe import Probe, Scene
from lbench.randomness import Randomness
from lbench.registry import Registry
from lbench.study.study_plan import StudyPlan


def check_probes(plan: StudyPlan, registry: Registry) -> None:
    """Begins each probe at each kind of point.

    Raises:
        UsageError: one cannot look at what is trained there; says which.
    """
    probes: dict[str, type[Probe]] = {
        name: registry.load("probes", name) for name in plan.study.probes
    }
    seen = set()
    for point in plan.points if probes else ():
        kind = (point.rule, point.dataset, point.network)
        if kind in seen:
            continue
        seen.add(kind)
        resolved = plan.resolved[point.key]
        data = resolved.dataset
        some = DeviceData.of(data.train, np.arange(1), torch.device("cpu"))
        ends = range(1, len(data.segments) + 1)
        scene = Scene(resolved.cell.build(0), some, some, Randomness(0), 1, 1, ends)
        for name, cls in probes.items():
            try:
                cls(name, scene)
            except UsageError as error:
                raise UsageError(f"At {point.key}: {error.message}", error.hint) from None
            except Exception:
                # The runs report a probe that fails, and go on without it.
                continue
