"""Plugins of one file that is not installed, with hooks or with classes alone."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from lbench import hooks
from lbench.containment import contained
from lbench.errors import PluginError
from lbench.plugin_check import BASES, derives

RENAME = "Rename the file, with letters, digits and underscores alone, such as my_rule.py."
HOOKS = {name for name in vars(hooks.HookSpecs) if name.startswith("lbench_")}


class ImpliedHooks:
    """The hooks for a file without hooks, which return its public classes.

    The name of a rule, network or probe is that of its class in snake_case, its title the first
    line of the docstring. A dataset has both as attributes, and ``mlp`` as its default network.
    """

    API = hooks.API

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def _classes(self, kind: str) -> dict[str, type]:
        """Return each class of the file that derives from a kind's base and is not private."""
        file = self.module.__name__
        return {
            f"{file}:{name}": cls
            for name, cls in vars(self.module).items()
            if isinstance(cls, type)
            and (cls.__module__, cls.__name__) == (file, name)
            and not name.startswith("_")
            and derives(cls, BASES[kind])
        }

    @hooks.hookimpl
    def lbench_rules(self) -> list[hooks.RuleEntry]:
        """Return the rules."""
        return [
            hooks.RuleEntry(snake(cls.__name__), _title(cls), "", load)
            for load, cls in self._classes("rules").items()
        ]

    @hooks.hookimpl
    def lbench_networks(self) -> list[hooks.NetworkEntry]:
        """Return the networks."""
        return [
            hooks.NetworkEntry(snake(cls.__name__), _title(cls), load)
            for load, cls in self._classes("networks").items()
        ]

    @hooks.hookimpl
    def lbench_datasets(self) -> list[hooks.DatasetEntry]:
        """Return the datasets."""
        return [
            hooks.DatasetEntry(
                getattr(cls, "name", snake(cls.__name__)),
                getattr(cls, "title", _title(cls)),
                load,
                "mlp",
            )
            for load, cls in self._classes("datasets").items()
        ]

    @hooks.hookimpl
    def lbench_probes(self) -> list[hooks.ProbeEntry]:
        """Return the probes."""
        return [
            hooks.ProbeEntry(snake(cls.__name__), _title(cls), load)
            for load, cls in self._classes("probes").items()
        ]


def hooks_of(module: ModuleType) -> object:
    """Return the object with the file's hooks: its module, or :class:`ImpliedHooks`.

    Raises:
        PluginError: the hooks are for another version of the interface.
    """
    if not hasattr(module, "API") and HOOKS.isdisjoint(vars(module)):
        return ImpliedHooks(module)
    if (wanted := getattr(module, "API", None)) != hooks.API:
        raise PluginError(
            f"Its hooks are for plugin interface {wanted!r}, this lbench has {hooks.API}.",
            f"If the file is written for this interface, add this line to it: API = {hooks.API}",
        )
    return module


def import_file(path: Path) -> ModuleType:
    """Import the module of a file under the file's name, once per process.

    Raises:
        PluginError: another module has this name, or the file cannot be imported.
    """
    if problem := name_problem(path):
        raise PluginError(f"Plugin {problem}", RENAME)
    if (present := sys.modules.get(path.stem)) is not None:
        return present
    try:
        return execute(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = (
                "A plugin file cannot import others; for several, make a package: lbench new rule"
            )
        raise PluginError(f"Plugin {described(error, path)}", hint) from error


def name_problem(path: Path) -> str | None:
    """Return why a file cannot be imported under its own name; None if it can."""
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier():
        return f"{path.name} has not the name of a Python module."
    present = sys.modules.get(name)
    if present is None:
        spec = importlib.util.find_spec(name)
        other = spec.origin if spec else None
    else:
        other = getattr(present, "__file__", None) or "built in"
    if name in sys.stdlib_module_names or (other and Path(other).resolve() != path):
        return f"{path} has the name of another module: {other or 'one of Python'}."
    return None


def execute(path: Path) -> ModuleType:
    """Import a file's module under the file's name.

    Raises:
        BaseException: whatever the file raises, including SystemExit.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        # Bytecode is not used: after an edit within the same second it would be the old code.
        with contained():
            exec(compile(path.read_text("utf-8"), path, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def described(error: BaseException, path: Path) -> str:
    """Return ``mine.py, line 3: NameError: …`` for an error in the import of a file.

    If a file in the same folder raised the error, name and line are those of that file.
    """
    file, line, text = path, None, str(error)
    if isinstance(error, SyntaxError) and error.filename:
        file, line, text = Path(error.filename), error.lineno, error.msg
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if Path(frame.filename).parent == path.parent:
                file, line = Path(frame.filename), frame.lineno
    where = file.name if line is None else f"{file.name}, line {line}"
    return f"{where}: {type(error).__name__}: {text}"


def snake(name: str) -> str:
    """Convert ``SignPred`` to ``sign_pred`` and ``LfnnL`` to ``lfnn_l``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _title(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or cls.__name__).splitlines()[0].removesuffix(".")
