"""Errors for users: each has a message, a hint and an exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence


class LbenchError(Exception):
    """A problem that a user can solve.

    Args:
        message: the problem, with the value in question.
        hint: the command or change that solves it.
    """

    kind = "error"
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message)


class UsageError(LbenchError):
    """A name, an option or a value that does not exist or does not fit."""

    kind = "usage"
    exit_code = 2


class MisfitError(UsageError):
    """A rule that cannot train the blocks of a network, or not with the options that it has.

    A study reports the point and trains the others.

    Args:
        message: what does not fit, with the value in question.
        hint: what would do, without the name of an option of the network.
        options: what would do as an option of the network, by its name, such as
            ``{"widths": "…,200,…", "width": "200"}``. The hint names the first one that the
            network at hand has.
    """

    def __init__(
        self, message: str, hint: str = "", options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.options = dict(options or {})


class DataError(LbenchError):
    """Data that is missing, damaged or of the wrong kind."""

    kind = "data"
    exit_code = 3


class StoreError(LbenchError):
    """A store that cannot be reached; the results in the run directories are kept."""

    kind = "store"
    exit_code = 4


class PluginError(UsageError):
    """A plugin that could not be loaded, or does not fit this version of lbench."""

    kind = "plugin"


class DamagedError(LbenchError):
    """A file of a run directory or of a study that is missing, or that lbench did not write so."""

    kind = "damaged"


class DeniedError(DamagedError):
    """A file of a run directory or of a study that this user has no permission to read."""

    kind = "denied"


class LockedError(LbenchError):
    """Another process is working on the same thing."""

    kind = "locked"


SYSTEM = "system"
"""Kind of errors of the operating system: a full disk, a directory without write permission."""


MOST = 3
"""Largest number of names that are suggested for an unknown one."""
ALIKE = 0.65
"""Smallest share of common letters of two similar names; one wrong letter of three is enough."""
BEGUN = 3
"""Smallest number of letters of a prefix that suggests a name."""


def printable(text: str) -> str:
    r"""Return ``text`` with each byte of a path that is not UTF-8 written as ``\xff``.

    Python keeps such bytes as surrogates, which no terminal, file or database takes.
    """
    return re.sub("[\udc80-\udcff]", lambda match: rf"\x{ord(match[0]) - 0xDC00:02x}", text)


def refused(error: OSError) -> str:
    """Return the reason of an error of the system, with the path where it is known."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three names that are similar to ``name``, best first.

    A name is similar if about two thirds of the letters of both agree, in their order (Ratcliff
    and Obershelp's measure), or if it begins with ``name``. A name that differs in upper case,
    ``-`` and ``_`` alone is returned alone.
    """
    folded = {_folded(candidate): candidate for candidate in names}
    wanted = _folded(name)
    if wanted in folded:
        return [folded[wanted]]
    alike = difflib.get_close_matches(wanted, folded, n=MOST, cutoff=ALIKE)
    begun = [key for key in folded if len(wanted) >= BEGUN and key.startswith(wanted)]
    return [folded[key] for key in dict.fromkeys([*alike, *begun])][:MOST]


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")


def did_you_mean(near: Sequence[str]) -> str:
    """Return ``Did you mean a or b?``, or "" without names."""
    return f"Did you mean {' or '.join(near)}?" if near else ""


def unknown(what: str, name: str, names: Iterable[str], *, listing: str) -> UsageError:
    """Return the error for an unknown name, whose hint has similar names and ``listing``.

    Args:
        what: the noun, such as ``"rule"``.
        name: the unknown name.
        names: the known names.
        listing: a sentence that says where all names are listed.
    """
    hint = f"{did_you_mean(nearest(name, names))} {listing}".lstrip()
    return UsageError(f"Unknown {what} {name!r}.", hint)
