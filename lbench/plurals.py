"""Words of sentences that lbench prints."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``1,200 files``.

    Args:
        plural: of the noun; "" for one with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
