"""What lbench tells a user when something is wrong: one message, one hint, one exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


class LbenchError(Exception):
    """A problem that a user can mend.

    Args:
        message: what was wrong, with the value that was given.
        hint: the command or change that mends it.
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


class DataError(LbenchError):
    """Data that is missing, damaged or not what it says."""

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
    """A file of a run directory or of a study that is missing, or not what lbench wrote."""

    kind = "damaged"


class DeniedError(DamagedError):
    """A file of a run directory or of a study that this user has no permission to read."""

    kind = "denied"


class LockedError(LbenchError):
    """Another process is working on the same thing."""

    kind = "locked"


SYSTEM = "system"
"""Kind of what the system refuses: a full disk, a directory that may not be written."""


MOST = 3
"""Most names that are suggested instead of an unknown one."""
ALIKE = 0.65
"""Share of letters in which a name is like another; one wrong letter of three is."""
BEGUN = 3
"""Letters of a beginning that stands for a name."""


def printable(text: str) -> str:
    r"""Return ``text`` with each byte of a path that is not UTF-8 written as ``\xff``.

    Python keeps such bytes as surrogates, which no terminal, file or database takes.
    """
    return re.sub("[\udc80-\udcff]", lambda found: rf"\x{ord(found[0]) - 0xDC00:02x}", text)


def refused(error: OSError) -> str:
    """What the system refuses, with the path where it is known."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The at most three names most like ``name``, best first; none where all are far from it.

    A name is near if two thirds of the letters of both are alike, in their order (Ratcliff and
    Obershelp's measure), or if it begins with ``name``. One that differs in upper case, ``-`` and
    ``_`` alone is the only one.
    """
    folded = {_folded(each): each for each in names}
    wanted = _folded(name)
    if wanted in folded:
        return [folded[wanted]]
    alike = difflib.get_close_matches(wanted, folded, n=MOST, cutoff=ALIKE)
    begun = [each for each in folded if len(wanted) >= BEGUN and each.startswith(wanted)]
    return [folded[each] for each in dict.fromkeys([*alike, *begun])][:MOST]


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")


def did_you_mean(near: Sequence[str]) -> str:
    """``Did you mean a or b?``; "" without names."""
    return f"Did you mean {' or '.join(near)}?" if near else ""


def unknown(what: str, name: str, names: Iterable[str], *, listing: str) -> UsageError:
    """The error for a name that nobody has: the nearest names and the command that lists all.

    Args:
        what: the noun, such as ``"rule"``.
        listing: what to run or read to see every name.
    """
    hint = f"{did_you_mean(nearest(name, names))} {listing}".lstrip()
    return UsageError(f"Unknown {what} {name!r}.", hint)
