"""An entry with a wrong field, or one that names a wrong class, is an error that names both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies.helper import lbench

ENTRIES = """
from lbench import (
    AnalysisEntry, Column, DatasetEntry, FigureEntry, NetworkEntry, NetworkSpec, Probe, ProbeEntry,
    RuleEntry, StudyEntry, hookimpl,
)
from lbench.data.digits import Digits
from lbench.data.source import Source
from lbench_bp.bp import Bp
API = 1
"""
MISTAKES = {
    "datasets": [
        ("class C(Digits): name = 'zebra'", "has the name 'zebra': give entry and class the same"),
        ("class C(Digits): name, title = 'it', None", "has no title: write title = "),
        ("class C(Source):\n look = read = lambda self, at: None", "has no name: write name = "),
        ("class C(Digits): name, title = 'it', 5", "has the title 5, which is not a word"),
        ("class C(Source): name = 'it'", "does not define look, read"),
        ("class C: name = title = 'it'", "does not derive from lbench.data.source.Source"),
    ],
    "rules": [
        ("class C: pass", "does not derive from lbench.rule.Rule"),
        ("class C(Bp): Config = dict", "not a class that derives from RuleConfig"),
        ("def C(): pass", "does not derive from lbench.rule.Rule"),
    ],
    "networks": [
        ("class C: pass", "does not derive from lbench.networks.spec.NetworkSpec"),
        ("class C(NetworkSpec): pass", "does not define build"),
    ],
    "probes": [
        ("class C: pass", "does not derive from lbench.probe.Probe"),
        ("class C(Probe): columns = {'loss': float}", "not a mapping of names to Column"),
    ],
}
ENTRY = {
    "datasets": "DatasetEntry('it', 'T', 'plugin_faulty:C', 'mlp')",
    "rules": "RuleEntry('it', 'T', 'P', 'plugin_faulty:C')",
    "networks": "NetworkEntry('it', 'T', 'plugin_faulty:C')",
    "probes": "ProbeEntry('it', 'T', 'plugin_faulty:C')",
}


def write(plugin: Path, kind: str, entry: str, code: str = "") -> list[str]:
    hook = f"@hookimpl\ndef lbench_{kind}():\n    return [{entry}]\n"
    plugin.write_text(f"{ENTRIES}{code}\n{hook}")
    return ["--plugin", str(plugin)]


@pytest.mark.parametrize(
    ("kind", "code", "problem"),
    [(kind, *mistake) for kind, mistakes in MISTAKES.items() for mistake in mistakes],
)
def test_a_class_that_does_not_fit_its_entry_is_an_error_that_names_both(
    plugin: Path, kind: str, code: str, problem: str
) -> None:
    output = lbench(kind, "it", *write(plugin, kind, ENTRY[kind], code))
    assert output.code == 2
    name = f"{kind.removesuffix('s')} 'it'"
    assert f"'plugin_faulty.py' names 'plugin_faulty:C' for {name}, but C " in output.err
    assert problem in output.err


def test_no_run_starts_on_a_dataset_whose_class_has_another_name(
    plugin: Path, tmp_path: Path
) -> None:
    arguments = write(plugin, "datasets", ENTRY["datasets"], MISTAKES["datasets"][0][0])
    words = ["--rule", "bp", "--dataset", "it", "--home", str(tmp_path / "home")]
    output = lbench("run", *words, *arguments)
    assert (output.code, output.out) == (2, "")
    assert "has the name 'zebra'" in output.err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("kind", "entry", "problem"),
    [
        ("rules", "RuleEntry('it', None, 'P', 'm:C')", "rule 'it' is wrong: title is None, not"),
        ("rules", "RuleEntry('', 'T', 'P', 'm:C')", "name is empty"),
        ("rules", "RuleEntry(5, 'T', 'P', 'm:C')", "name is 5, not a str"),
        ("rules", "RuleEntry('it', 'T', 'P', 'm.C')", "load is 'm.C', not 'module:Name'"),
        ("networks", "NetworkEntry('it', 'T', 'm:C', [1])", "preset is [1], not a Mapping"),
        ("datasets", "DatasetEntry('it', 'T', 'm:C', None)", "network is None, not a str"),
        (
            "datasets",
            "DatasetEntry('it', 'T', 'm:C', 'mlp', (1, 8, 8))",
            "one of shape and classes",
        ),
        ("datasets", "DatasetEntry('it', 'T', 'm:C', 'mlp', (8, 8), 2)", "are (8, 8) and 2, not"),
        ("datasets", "DatasetEntry('it', 'T', 'm:C', 'mlp', 8, 2)", "shape is 8, not a tuple["),
        ("datasets", "DatasetEntry('it', 'T', 'm:C', 'mlp', reference=True)", "has no shape"),
        ("rules", "RuleEntry('it', 'T', 'P', 'm:C', 1)", "reference is 1, not a bool"),
        ("rules", "RuleEntry('it', 'T', 'P', 'm:C', True)", "has reference=True, as has 'bp'"),
        ("probes", "ProbeEntry('it', 'T', None)", "load is None, not a str"),
        ("studies", "StudyEntry('it', 'T', 'a.toml')", "path is 'a.toml', not a Path"),
    ],
)
def test_an_entry_with_a_wrong_field_is_an_error_that_names_the_field(
    plugin: Path, kind: str, entry: str, problem: str
) -> None:
    output = lbench(kind, *write(plugin, kind, entry))
    assert output.code == 2
    assert problem in output.err


@pytest.mark.parametrize(
    ("kind", "entry", "problem"),
    [
        ("figures", "FigureEntry('it', 'T', 'm:f', 5)", "figure 'it' is wrong: probe is 5, not"),
        ("figures", "FigureEntry('a:b', 'T', 'm:f')", "name is 'a:b', but a colon"),
        (
            "figures",
            "FigureEntry('bars', 'T', 'm:f')",
            "figure 'bars' is taken by",
        ),
        ("analyses", "AnalysisEntry('it', 'T', 'm')", "analysis 'it' is wrong: load is 'm', not"),
        (
            "analyses",
            "AnalysisEntry('best', 'T', 'm:f')",
            "analysis 'best' is taken by",
        ),
        ("analyses", "FigureEntry('it', 'T', 'm:f')", "not a AnalysisEntry"),
    ],
)
def test_a_figure_or_an_analysis_with_a_wrong_field_is_an_error(
    plugin: Path, kind: str, entry: str, problem: str
) -> None:
    output = lbench("plugins", *write(plugin, kind, entry))
    assert output.code == 2
    assert problem in output.err


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        ("plugin_faulty:C", "for figure 'it', but C is 5, not a function"),
        ("plugin_faulty:D", "which cannot be loaded: AttributeError"),
        ("no_such:f", "which cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_study_with_a_broken_figure_is_refused_before_anything_is_trained(
    plugin: Path, tmp_path: Path, load: str, problem: str
) -> None:
    study = tmp_path / "s.toml"
    study.write_text(
        'title = "T"\nquestion = "Q?"\ndatasets = ["digits"]\nrules = ["bp"]\nfigures = ["it"]\n'
    )
    arguments = write(plugin, "figures", f"FigureEntry('it', 'T', {load!r})", "C = 5")
    output = lbench("study", str(study), *arguments, "--home", str(tmp_path / "home"))
    assert output.code == 2
    assert problem in output.err
    assert not (tmp_path / "home").exists()
