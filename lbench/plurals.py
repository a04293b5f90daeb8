"""Numbers with nouns in messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``1,200 files``.

    Args:
        number: the number.
        noun: the noun in the singular.
        plural: the noun in the plural; "" for the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
