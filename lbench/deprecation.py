"""Deprecated names: they work as before, warn when they are used, and have a date of removal.

``docs/interface.md`` has the policy, which :func:`deprecated` enforces.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from lbench import __version__

KEPT = 2
"""Minor versions for which a deprecated name works, after the one that deprecates it."""

Name = TypeVar("Name", bound=Callable[..., Any])


def deprecated(*, since: str, removal: str, instead: str) -> Callable[[Name], Name]:
    """Mark a function, a method or a class as deprecated.

    A call of it gives a ``FutureWarning`` for the line of the caller. A class warns when an
    instance is made, also one of a subclass::

        @deprecated(since="0.2", removal="0.4", instead="lbench.compare")
        def contrast(...): ...

    Args:
        since: MAJOR.MINOR, the version that deprecates the name.
        removal: MAJOR.MINOR, the version that removes it.
        instead: what to use, as the warning says it.

    Raises:
        ValueError: the name would be removed earlier than the policy allows, or this version of
            lbench is the one that had to remove it.
    """
    first, last = numbers(since), numbers(removal)
    if last[0] == first[0] and last[1] < first[1] + KEPT:
        raise ValueError(
            f"A name that {since} deprecates works for {KEPT} minor versions: removal={removal!r} "
            "is too early."
        )
    if numbers(__version__) >= last:
        raise ValueError(f"lbench {__version__} has a name that {removal} had to remove.")

    def mark(name: Name) -> Name:
        message = (
            f"{name.__qualname__} is deprecated since lbench {since} and will be removed in "
            f"{removal}: use {instead}."
        )
        if inspect.isclass(name):
            name.__init__ = _warning(name.__init__, message)  # type: ignore[method-assign]
            return name
        return _warning(name, message)  # type: ignore[return-value]

    return mark


def numbers(version: str) -> tuple[int, int]:
    """Return MAJOR and MINOR of a version.

    Raises:
        ValueError: the text has no two numbers.
    """
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def _warning(function: Callable[..., Any], message: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(message, FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    return call
