"""How often the audit contradicts an honest rule, and how often it misses a planted cheat.

Claim: no rule of lbench is contradicted on multilayer perceptrons, on convolutional and residual
networks with and without BatchNorm and dropout, or on mixers (20 seeds of weights, data and noise),
nor on networks that are no chain of layers (``tests/auditing/networks.py``: 5 seeds, and 20 for one
rule of each family); and planted cheats are caught.

    python benchmarks/audit.py --workers 2 [--results audit.jsonl] [--seeds 1] [--rules bp,fa]

Each audit is a line of the results file, identified by the digest of the code that made it. So the
same command continues after an interruption, and repeats the audits whose code has changed. All
configurations are measured with one seed before any is measured with the next.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks are small

import torch
from timing import machine

import lbench
from lbench.auditing.rules import audit_class, audit_rule
from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.networks.spec import NetworkSpec
from lbench.registry import registry
from lbench.rule import Rule
from lbench.training.digest import code_digest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.auditing.networks import UNUSUAL  # noqa: E402

Record = dict[str, Any]

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"network": "mlp"},
    "mlp, dropout 0.3": {"network": "mlp", "dropout": 0.3},
    "cnn, GroupNorm": {"network": "cnn", "network_options": {"norm": "group"}},
    "cnn, BatchNorm": {"network": "cnn"},
    "cnn, GroupNorm, dropout 0.3": {
        "network": "cnn", "network_options": {"norm": "group"}, "dropout": 0.3,
    },
    "resnet, no norm": {"network": "resnet", "network_options": {"norm": "none"}},
    "resnet, BatchNorm": {"network": "resnet"},
    "mixer": {"network": "mixer"},
}  # fmt: skip
OPTIONS: dict[str, list[Mapping[str, Any]]] = {
    "lg_bp": [{}, {"schedule": "sequential"}],
    "lfnn_l": [{}, {"selection": "example"}],
}
"""Options of rules that are audited, including the defaults."""
CHEATS = ("cheats", "late_cheats", "state_cheats")
"""Modules of ``tests/auditing`` that may have a dictionary ``CHEATS``."""
SEEDS, FEW = 20, 5
"""Seeds on common networks and of each family's first rule; of other rules on unusual networks."""
BASE = ("claims", "config", "depth", "init", "layer", "network", "randomness", "recipe", "rule",
        "step", "task")  # fmt: skip
"""Modules of lbench that an audit runs, beside those of the audit and of the networks."""
QUIET = 30.0
"""Seconds between lines of progress."""


@dataclass(frozen=True)
class AuditRun:
    """A configuration and a seed that are audited.

    Args:
        kind: ``rule`` or ``cheat``.
        name: name of the rule or of the cheat.
        network: a key of ``NETWORKS`` or of ``UNUSUAL``.
        seed: seed of weights, data and noise.
        options: options of the rule, in JSON.
        module: module of ``tests.auditing`` that has the cheat.
    """

    kind: str
    name: str
    network: str
    seed: int
    options: str = "{}"
    module: str = ""

    @property
    def words(self) -> str:
        """Return rule, options and network for messages."""
        options = "" if self.options == "{}" else f" {self.options}"
        return f"{self.name}{options} on {self.network}"

    def key(self) -> str:
        """Return the key of a line of the results: a digest of the run and of its code."""
        network = code_digest(type(UNUSUAL[self.network])) if self.network in UNUSUAL else ""
        parts = (library(), code_digest(self.cls), network, self.kind, self.name, self.network)
        text = "\x1f".join((*parts, self.options, str(self.seed)))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def cls(self) -> type[Rule]:
        """Return the class of the rule or cheat."""
        if self.kind == "cheat":
            return cheats(self.module)[self.name][0]
        cls: type[Rule] = registry().load("rules", self.name)
        return cls

    def audit(self) -> Record:
        """Return the line of the results."""
        start = time.perf_counter()
        outcome = self._audit()
        where = {"rule": self.name, "network": self.network, "seed": self.seed}
        if self.options != "{}":
            where["options"] = self.options
        seconds = round(time.perf_counter() - start, 3)
        return {"key": self.key(), "kind": self.kind, **where, **outcome, "seconds": seconds}

    def _audit(self) -> Record:
        try:
            if self.network in UNUSUAL:
                config: RuleConfig = self.cls.Config(**json.loads(self.options))
                spec: NetworkSpec = UNUSUAL[self.network]
                report = audit_class(
                    self.cls, config, spec, self.name, self.network, seed=self.seed
                )
            else:
                report = audit_rule(
                    self.cls, json.loads(self.options), seed=self.seed, **NETWORKS[self.network]
                )
        except UsageError as error:
            return {"outcome": "refused", "why": str(error)}
        except Exception as error:  # it is counted, and the other audits continue
            return {"outcome": "failed", "why": f"{type(error).__name__}: {error}"}
        return {
            "outcome": report.verdict,
            "contradictions": report.contradictions,
            "unmeasured": report.unmeasured,
        }


@cache
def library() -> str:
    """Return the digest of the audit and of the code that it uses, without docstrings.

    A sentence that is written anew leaves hours of results as they are.
    """
    package = Path(lbench.__file__).parent
    files = [package / f"{name}.py" for name in BASE]
    files += [path for room in ("auditing", "networks") for path in (package / room).glob("*.py")]
    texts = [f"{path.relative_to(package)}\x1f{code(path.read_text())}" for path in sorted(files)]
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()


def code(text: str) -> str:
    """Return the syntax tree of a module as text, without strings that are statements."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return False
    return isinstance(node.value.value, str)


@cache
def cheats(module: str) -> dict[str, tuple[type[Rule], str]]:
    """Return the cheats of a test module, each with the name of the claim that it breaks."""
    by_name: dict[str, tuple[type[Rule], str]]
    by_name = getattr(importlib.import_module(f"tests.auditing.{module}"), "CHEATS", {})
    return by_name


def families() -> set[str]:
    """Return the first rule of each plugin."""
    first: dict[str, str] = {}
    for rule in registry().rules:
        first.setdefault(registry().owner("rules", rule), rule)
    return set(first.values())


def rule_runs(rules: Sequence[str], networks: Sequence[str], most: int) -> list[AuditRun]:
    """Return every rule on every network, with at most ``most`` seeds."""
    many = families()
    runs = []
    for rule in rules:
        for options in OPTIONS.get(rule, [{}]):
            for network in networks:
                seeds = SEEDS if network in NETWORKS or rule in many else FEW
                runs += [
                    AuditRun("rule", rule, network, seed, json.dumps(options))
                    for seed in range(min(seeds, most))
                ]
    return runs


def cheat_runs(modules: Sequence[str], most: int) -> list[AuditRun]:
    """Return every planted cheat on the multilayer perceptron, with at most ``most`` seeds."""
    return [
        AuditRun("cheat", name, "mlp", seed, module=module)
        for module in modules
        for name in cheats(module)
        for seed in range(min(SEEDS, most))
    ]


@dataclass
class Results:
    """The lines of a results file.

    Args:
        path: path of the file, which is created with the first line.
        known: lines by key.
    """

    path: Path
    known: dict[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the file; a line that was cut off by an interruption does not count."""
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            self.known[record["key"]] = record

    def add(self, records: Iterable[Record], total: int) -> None:
        """Append each record when it is ready, and print progress."""
        start = shown = time.monotonic()
        begin = self.path.read_bytes()[-1:] if self.path.exists() else b"\n"
        with self.path.open("a") as file:
            if begin not in (b"\n", b""):
                file.write("\n")
            for count, record in enumerate(records, start=1):
                self.known[record["key"]] = record
                file.write(json.dumps(record) + "\n")
                file.flush()
                if record["outcome"] == "failed":
                    print(f"{record['rule']} on {record['network']} failed: {record['why']}")
                now = time.monotonic()
                if now - shown > QUIET or count == total:
                    shown = now
                    left = (now - start) / count * (total - count)
                    print(f"{count:,} of {total:,} audits, about {clock(left)} left", flush=True)


def clock(seconds: float) -> str:
    """Return a duration in hours and minutes, or in seconds when it is short."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def one_thread() -> None:
    """Set one thread in a worker process."""
    torch.set_num_threads(1)


def measured(runs: Sequence[AuditRun], path: Path, workers: int) -> dict[AuditRun, Record]:
    """Return the record of each run: from the file, or measured now and appended to it."""
    keys = {run: run.key() for run in runs}
    results = Results(path)
    missing = sorted((c for c in runs if keys[c] not in results.known), key=lambda c: c.seed)
    if len(missing) < len(runs):
        print(f"{len(runs) - len(missing):,} of {len(runs):,} audits are in {path} already")
    if missing and workers == 1:
        one_thread()
        results.add(map(AuditRun.audit, missing), len(missing))
    elif missing:
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers, one_thread) as pool:
            results.add(pool.imap_unordered(AuditRun.audit, missing), len(missing))
    return {run: results.known[key] for run, key in keys.items()}


def false_alarms(records: Mapping[AuditRun, Record]) -> int:
    """Print what was contradicted, refused, failed or not measured; count the bad outcomes."""
    outcomes = Counter(record["outcome"] for record in records.values())
    alarms: dict[str, list[int]] = defaultdict(list)
    null: dict[str, list[int]] = defaultdict(list)
    reasons: dict[str, set[str]] = defaultdict(set)
    for run, record in records.items():
        if record["outcome"] in ("refused", "failed"):
            reasons[f"{record['outcome']}: {record['why'].splitlines()[0]}"].add(run.words)
        for text in record.get("contradictions", []):
            alarms[f"{run.words}: {text}"].append(run.seed)
        for word in record.get("unmeasured", []):
            null[f"{run.words}: {word}"].append(run.seed)
    for reason, runs in sorted(reasons.items()):
        print(f"{reason}\n    " + "\n    ".join(sorted(runs)))
    for text, seeds in alarms.items():
        print(f"{text}\n    contradicted with seeds {listed(seeds)}")
    for text, seeds in null.items():
        print(f"{text}\n    not measurable with seeds {listed(seeds)}")
    seconds = sorted(record["seconds"] for record in records.values())
    audited = outcomes.total() - outcomes["refused"] - outcomes["failed"]
    print(
        f"{outcomes['contradicted']} false alarms in {audited:,} audits, with a claim that is not "
        f"measurable in {sum(bool(r.get('unmeasured')) for r in records.values()):,}; "
        f"{outcomes['refused']:,} refused, {outcomes['failed']:,} failed; median "
        f"{statistics.median(seconds):.2f} s, longest {seconds[-1]:.2f} s",
        flush=True,
    )
    return outcomes["contradicted"] + outcomes["failed"]


def missed(records: Mapping[AuditRun, Record]) -> int:
    """Print how often each cheat was caught by its claim; return how often it was not."""
    by_cheat: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for run, record in records.items():
        claim = cheats(run.module)[run.name][1]
        caught = any(text.startswith(f"{claim}:") for text in record.get("contradictions", []))
        by_cheat[run.module, run.name].append(caught)
    for (_, name), hits in by_cheat.items():
        print(f"{name}: caught in {sum(hits)} of {len(hits)}")
    return sum(not hit for hits in by_cheat.values() for hit in hits)


def listed(seeds: Sequence[int]) -> str:
    """Return seeds as ranges, such as ``0-4, 7``."""
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def names(text: str, known: Iterable[str], separator: str = ",") -> list[str]:
    """Return the names that an option lists."""
    known = list(known)
    if text == "all":
        return known
    listed_names = [name.strip() for name in text.split(separator) if name.strip()]
    if unknown := [name for name in listed_names if name not in known]:
        raise SystemExit(f"There is no {unknown[0]!r}. Choose from: {'; '.join(known)}.")
    return listed_names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="Most seeds per configuration.")
    parser.add_argument("--rules", default="all", help="Names, or an empty text for none.")
    parser.add_argument("--networks", default="all", help="Names, separated by semicolons.")
    parser.add_argument("--cheats", default="all", help=f"Modules, from {', '.join(CHEATS)}.")
    parser.add_argument("--workers", type=int, default=1, help="Processes of one thread each.")
    parser.add_argument("--results", type=Path, default=Path("audit.jsonl"))
    options = parser.parse_args()
    rules = names(options.rules, registry().rules)
    networks = names(options.networks, [*NETWORKS, *UNUSUAL], ";")
    modules = names(options.cheats, CHEATS)
    runs = [*rule_runs(rules, networks, options.seeds), *cheat_runs(modules, options.seeds)]
    print(machine())
    records = measured(runs, options.results, options.workers)
    bad = 0
    if honest := {run: record for run, record in records.items() if run.kind == "rule"}:
        bad += false_alarms(honest)
    if planted := {run: record for run, record in records.items() if run.kind == "cheat"}:
        bad += missed(planted)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
