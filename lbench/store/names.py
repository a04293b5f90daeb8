"""Which cells a user means by part of a name."""

from __future__ import annotations

from collections.abc import Mapping

from lbench.errors import UsageError, did_you_mean, nearest

LISTING = "Run `lbench compare` without a name to list the cells."
SHORTEST_FINGERPRINT = 4


def matching(cells: Mapping[str, str], prefix: str) -> list[str]:
    """The fingerprints of the cells that a prefix means, in the order given.

    The first of these that finds any: the full id; whole leading parts of the id
    (``bp/cifar10`` is not ``bp/cifar10-jpeg``); any prefix of the id; a prefix of the
    fingerprint (four digits and more). With an ``@``, what stands behind it decides among the
    cells of that rule and dataset: an option given at its default changes the words alone.

    Args:
        cells: fingerprint to readable id.
        prefix: what the user gave.
    """
    words, at, code = prefix.rpartition("@")
    if at:
        rule_and_dataset = "/".join(words.split("/")[:2])
        coded = [fingerprint for fingerprint in cells if fingerprint.startswith(code)]
        return [fingerprint for fingerprint in coded if cells[fingerprint].startswith(prefix)] or [
            fingerprint for fingerprint in coded if cells[fingerprint].startswith(rule_and_dataset)
        ]
    whole_parts = (prefix.rstrip("/") + "/", prefix + "@")
    digits = prefix if len(prefix) >= SHORTEST_FINGERPRINT else "-"
    return (
        [fingerprint for fingerprint, name in cells.items() if name == prefix]
        or [fingerprint for fingerprint, name in cells.items() if name.startswith(whole_parts)]
        or [fingerprint for fingerprint, name in cells.items() if name.startswith(prefix)]
        or [fingerprint for fingerprint in cells if fingerprint.startswith(digits)]
    )


def one(cells: Mapping[str, str], prefix: str) -> str:
    """The fingerprint of the one cell that a prefix means.

    Raises:
        UsageError: none or several; names the nearest or the candidates.
    """
    found = matching(cells, prefix)
    if len(found) == 1:
        return found[0]
    if found:
        candidates = [cells[fingerprint] for fingerprint in found]
        shown = "\n".join(f"  {name}" for name in candidates[:10])
        more = f"\n  and {len(candidates) - 10} more" if len(candidates) > 10 else ""
        raise UsageError(
            f"{prefix!r} means {len(candidates)} cells:\n{shown}{more}",
            f"Give more of the name, or what stands behind the @. {LISTING}",
        )
    near = nearest(prefix, cells.values()) or _starting_alike(prefix, cells)
    raise UsageError(f"Unknown cell {prefix!r}.", f"{did_you_mean(near)} {LISTING}".lstrip())


def _starting_alike(prefix: str, cells: Mapping[str, str]) -> list[str]:
    # A short misspelt prefix is far from any full id: compare with as much of each.
    starts = {name[: len(prefix)]: name for name in cells.values()}
    return [starts[start] for start in nearest(prefix, starts)]
