"""The files around the code agree with each other and with the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import lbench

ROOT = Path(lbench.__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def loaded(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == lbench.__version__ == CITATION["version"]


def test_the_licence_is_the_same_everywhere() -> None:
    assert PROJECT["license"] == CITATION["license"] == "MIT"
    assert PROJECT["license-files"] == ["LICENSE"]
    (owner,) = re.findall(r"^Copyright \(c\) \d{4} (.+)$", (ROOT / "LICENSE").read_text(), re.M)
    assert [author["name"] for author in PROJECT["authors"]] == [owner]
    assert [author["name"] for author in CITATION["authors"]] == [owner]


def test_the_changelog_has_the_version_on_the_day_of_its_release() -> None:
    head, *released = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.M)
    assert head == ("Unreleased", "")
    assert released[0] == (lbench.__version__, CITATION["date-released"])


def test_the_changelog_has_no_other_kinds_of_change() -> None:
    kinds = set(re.findall(r"^### (.+)$", CHANGELOG, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_a_dependency_has_an_upper_bound(requirement: str) -> None:
    assert ",<" in requirement


def test_every_supported_python_is_tested_with_the_command_of_the_readme() -> None:
    prefix = "Programming Language :: Python :: "
    supported = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if prefix in line]
    jobs = loaded(".github/workflows/test.yml")["jobs"]
    job = jobs["tox"]
    versions = [version for version in supported if "Only" not in version]
    assert job["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={supported[1]}"
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == (ROOT / ".ci" / "run").read_text().splitlines()[-1:]
    assert jobs["coverage"]["steps"][-1]["run"] == f"{commands[0]} -e coverage"


def test_hooks_before_a_commit_are_the_quick_checks_of_tox() -> None:
    (repository,) = loaded(".pre-commit-config.yaml")["repos"]
    tox = (ROOT / "tox.ini").read_text()
    lines = {tuple(line.split()) for line in tox.splitlines()}
    hooks = {
        tuple(word for word in shlex.split(hook["entry"]) if word != "--force-exclude")
        for hook in repository["hooks"]
    }
    assert repository["repo"] == "local"
    # tox runs mypy as a test, beside the others.
    quick = hooks - {("mypy",)}
    assert quick == {line for line in lines if line[:1] in {hook[:1] for hook in hooks}}
    assert (ROOT / "tests" / "test_types.py").exists()


@pytest.mark.parametrize("path", TEMPLATES, ids=[path.stem for path in TEMPLATES])
def test_an_issue_template_has_the_fields_of_a_form(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in form["body"])


def test_every_file_named_in_the_guide_to_contributing_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    text = re.sub(r"`(report|store|study)/", r"`lbench/\1/", text)
    paths = {
        path
        for path in re.findall(r"`([\w./]+/[\w./]*)`", text) + re.findall(r"\]\(([\w./]+)\)", text)
        if not re.search(r"[A-Z]{4}", path.removesuffix("CHANGELOG.md"))
    }
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
