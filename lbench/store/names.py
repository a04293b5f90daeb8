"""The configurations that a part of a name means."""

from __future__ import annotations

from collections.abc import Mapping

from lbench.errors import UsageError, did_you_mean, nearest

LISTING = "Run `lbench compare` without a name to list the configurations."
SHORTEST_FINGERPRINT = 4


def matching(cells: Mapping[str, str], prefix: str) -> list[str]:
    """Return the fingerprints of the configurations that a prefix means, in the given order.

    The prefix is compared with the full id, then with whole leading parts of the id
    (``bp/cifar10`` is not ``bp/cifar10-jpeg``), then with any prefix of the id, then with the
    start of the fingerprint (at least four digits); the first comparison with a match counts. With
    an ``@``, the digits behind it select among the configurations of that rule and dataset,
    because an option given with its default value changes only the words of the id.

    Args:
        cells: readable ids by fingerprint.
        prefix: text of the user.
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
    """Return the fingerprint of the one configuration that a prefix means.

    Raises:
        UsageError: there is none, and the hint has similar ids; or there are several, and the
            message lists them.
    """
    fingerprints = matching(cells, prefix)
    if len(fingerprints) == 1:
        return fingerprints[0]
    if fingerprints:
        candidates = [cells[fingerprint] for fingerprint in fingerprints]
        shown = "\n".join(f"  {name}" for name in candidates[:10])
        more = f"\n  and {len(candidates) - 10} more" if len(candidates) > 10 else ""
        raise UsageError(
            f"{prefix!r} means {len(candidates)} configurations:\n{shown}{more}",
            f"Give more of the name, or the digits behind the @. {LISTING}",
        )
    near = nearest(prefix, cells.values()) or _starting_alike(prefix, cells)
    hint = f"{did_you_mean(near)} {LISTING}".lstrip()
    raise UsageError(f"Unknown configuration {prefix!r}.", hint)


def _starting_alike(prefix: str, cells: Mapping[str, str]) -> list[str]:
    # A short misspelt prefix is far from any full id: compare with starts of the same length.
    starts = {name[: len(prefix)]: name for name in cells.values()}
    return [starts[start] for start in nearest(prefix, starts)]
