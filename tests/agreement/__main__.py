"""Print the table of docs/rules/agreement.md: ``python -m tests.agreement``."""

from __future__ import annotations

from itertools import groupby

from tests.agreement.recorded import CASES, Case, deviations, expected, measure

COLUMNS = (
    "rule", "implementation", "commit", "cases", "gradients", "also", "largest deviation",
    "tolerance",
)  # fmt: skip


def sources(cases: list[Case]) -> list[tuple[str, str]]:
    """Return repositories and commits, each once, in the order of the cases."""
    pairs = (case.meta["source"].rpartition(" ") for case in cases)
    return list(dict.fromkeys((repository, commit) for repository, _, commit in pairs))


def row(cases: list[Case]) -> list[str]:
    """Return a rule's line of the table: its cases, measured."""
    compared, also, largest = [], set[str](), dict[float, float]()
    for case in cases:
        found, trained = measure(case)
        far = deviations(case, found)
        tolerance = case.meta["tolerance"]
        largest[tolerance] = max(*far.values(), largest.get(tolerance, 0.0))
        compared.append(f"{len(case.arrays['ref'])} of {len(trained)}")
        names = {name.partition(" ")[0] for name, _ in expected(case)}
        also |= names & {"loss", "after"}
    says = {"loss": "logged loss", "after": "values after all steps"}
    repositories, commits = zip(*sources(cases), strict=True)
    return [
        cases[0].rule,
        "; ".join(repositories),
        "; ".join(f"`{commit[:12]}`" for commit in commits),
        ", ".join(case.name for case in cases),
        ", ".join(compared),
        ", ".join(says[name] for name in sorted(also, reverse=True)),
        ", ".join(f"{value:.1e}" for value in largest.values()),
        ", ".join(f"{tolerance:.0e}" for tolerance in largest),
    ]


def table() -> str:
    """Return the table in markdown."""
    rows = [row(list(cases)) for _, cases in groupby(CASES, key=lambda case: case.rule)]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
