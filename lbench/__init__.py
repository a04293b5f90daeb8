"""lbench: a benchmark of learning rules that train networks without, or with less, backpropagation.

Public names are loaded when they are first used, so that importing lbench stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Type checkers read these imports; at run time __getattr__ loads the names.
    from lbench.api.comparison import compare as compare
    from lbench.api.listing import datasets as datasets
    from lbench.api.listing import rules as rules
    from lbench.api.predictor import load as load
    from lbench.api.results import results as results
    from lbench.api.studies import study as study
    from lbench.api.studies import tune as tune
    from lbench.api.training import run as run
    from lbench.auditing.copies import twin as twin
    from lbench.auditing.steps import audit as audit
    from lbench.claims import Claims as Claims
    from lbench.config import DatasetConfig as DatasetConfig
    from lbench.config import RuleConfig as RuleConfig
    from lbench.config import param as param
    from lbench.data.dataset import Location as Location
    from lbench.data.dataset import Raw as Raw
    from lbench.data.dataset import Split as Split
    from lbench.data.published_size import PublishedSize as PublishedSize
    from lbench.data.source import Source as Source
    from lbench.errors import DataError as DataError
    from lbench.errors import MisfitError as MisfitError
    from lbench.errors import UsageError as UsageError
    from lbench.hooks import AnalysisEntry as AnalysisEntry
    from lbench.hooks import DatasetEntry as DatasetEntry
    from lbench.hooks import FigureEntry as FigureEntry
    from lbench.hooks import NetworkEntry as NetworkEntry
    from lbench.hooks import ProbeEntry as ProbeEntry
    from lbench.hooks import PublishedEntry as PublishedEntry
    from lbench.hooks import RuleEntry as RuleEntry
    from lbench.hooks import SequenceEntry as SequenceEntry
    from lbench.hooks import StudyEntry as StudyEntry
    from lbench.hooks import hookimpl as hookimpl
    from lbench.init import Init as Init
    from lbench.layer import Layer as Layer
    from lbench.layer import cut as cut
    from lbench.layer import tapped as tapped
    from lbench.network import Block as Block
    from lbench.network import Chain as Chain
    from lbench.network import Network as Network
    from lbench.network import Pass as Pass
    from lbench.network import Readout as Readout
    from lbench.network import spatial_mean as spatial_mean
    from lbench.networks.as_network import as_network as as_network
    from lbench.networks.norm import LocalNorm as LocalNorm
    from lbench.networks.norm import statistics_held as statistics_held
    from lbench.networks.spec import NetworkSpec as NetworkSpec
    from lbench.probe import Column as Column
    from lbench.probe import Examples as Examples
    from lbench.probe import Probe as Probe
    from lbench.probe import Scene as Scene
    from lbench.probe import chunks as chunks
    from lbench.probe import hidden as hidden
    from lbench.randomness import Randomness as Randomness
    from lbench.randomness import address as address
    from lbench.recipe import Recipe as Recipe
    from lbench.rule import GradientRule as GradientRule
    from lbench.rule import Grads as Grads
    from lbench.rule import Group as Group
    from lbench.rule import LocalRule as LocalRule
    from lbench.rule import Rule as Rule
    from lbench.rule import View as View
    from lbench.rule import differentiate as differentiate
    from lbench.rule import trained as trained
    from lbench.step import Phase as Phase
    from lbench.step import Step as Step
    from lbench.task import Batch as Batch
    from lbench.task import Task as Task

__version__ = "0.1.0"

_HOMES = {
    "AnalysisEntry": "hooks",
    "Batch": "task",
    "Block": "network",
    "Chain": "network",
    "Claims": "claims",
    "Column": "probe",
    "DataError": "errors",
    "DatasetConfig": "config",
    "DatasetEntry": "hooks",
    "Examples": "probe",
    "FigureEntry": "hooks",
    "GradientRule": "rule",
    "Grads": "rule",
    "Group": "rule",
    "Init": "init",
    "LocalRule": "rule",
    "LocalNorm": "networks.norm",
    "Location": "data.dataset",
    "Network": "network",
    "NetworkEntry": "hooks",
    "NetworkSpec": "networks.spec",
    "Pass": "network",
    "Phase": "step",
    "Probe": "probe",
    "ProbeEntry": "hooks",
    "PublishedEntry": "hooks",
    "PublishedSize": "data.published_size",
    "Randomness": "randomness",
    "Raw": "data.dataset",
    "Readout": "network",
    "Recipe": "recipe",
    "Rule": "rule",
    "RuleConfig": "config",
    "RuleEntry": "hooks",
    "Scene": "probe",
    "Layer": "layer",
    "SequenceEntry": "hooks",
    "Source": "data.source",
    "Split": "data.dataset",
    "Step": "step",
    "StudyEntry": "hooks",
    "Task": "task",
    "MisfitError": "errors",
    "UsageError": "errors",
    "View": "rule",
    "address": "randomness",
    "as_network": "networks.as_network",
    "audit": "auditing.steps",
    "chunks": "probe",
    "compare": "api.comparison",
    "cut": "layer",
    "datasets": "api.listing",
    "differentiate": "rule",
    "hidden": "probe",
    "hookimpl": "hooks",
    "load": "api.predictor",
    "param": "config",
    "results": "api.results",
    "rules": "api.listing",
    "run": "api.training",
    "spatial_mean": "network",
    "statistics_held": "networks.norm",
    "study": "api.studies",
    "tapped": "layer",
    "trained": "rule",
    "tune": "api.studies",
    "twin": "auditing.copies",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"lbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
