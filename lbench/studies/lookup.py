"""Lookup of a study: an installed one, a user's file, or a search of ``lbench tune``."""

from __future__ import annotations

from pathlib import Path

from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import Registry
from lbench.studies.definition import Study
from lbench.studies.study_file import read_study
from lbench.studies.tuning import PREFIX, find_tuning_study


def find_study(name: str, registry: Registry, home: Home | None = None) -> Study:
    """Return the study with a name or in a TOML file.

    Args:
        name: name of the study, or path of its file.
        registry: installed studies.
        home: home directory, whose searches of ``lbench tune`` are looked up too. They can be
            reported, but not run.

    Raises:
        UsageError: there is no such study or file, or the file is invalid.
        DamagedError: the plan of such a search is not what lbench wrote.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"There is no study file {name}.", "List studies with: lbench studies")
        if path.stem in (".", ".."):
            # The folder of a study has the name of its file.
            raise UsageError(
                f"{name!r} is not a valid name for a study's file.", "Use a name such as mine.toml."
            )
        return read_study(path)
    if home is not None and name.startswith(PREFIX) and name not in registry.studies:
        return find_tuning_study(name, home)
    if name not in registry.studies:
        if Path(f"{name}.toml").is_file():
            raise UsageError(f"Unknown study {name!r}.", f"Did you mean the file {name}.toml?")
        if home is not None and (home.studies / name).is_dir():
            problem = f"Study {name!r} was run in {home.root} from a file of its own."
            raise UsageError(problem, f"Name the file: {name}.toml with its folder.")
    entry = registry.find("studies", name)
    return read_study(entry.path, entry.name)
