"""Job: trains one run of a cell in its directory, and writes how it ended."""

from __future__ import annotations

import dataclasses
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch

from lbench import __version__
from lbench.auditing.verdict import verdict
from lbench.data.augment import Augmentation
from lbench.data.loader import Batches, DeviceData
from lbench.data.split import holdout
from lbench.network import reached
from lbench.probe import Scene
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.run import checkpoint, probing
from lbench.run.audited import audited
from lbench.run.cell import Cell
from lbench.run.evaluate import Evaluation, evaluate
from lbench.run.glances import Glances
from lbench.run.memory import Peak
from lbench.run.plan import Plan
from lbench.run.probing import Part, Probes
from lbench.run.resolve import VALIDATION, Resolved
from lbench.run.trainer import DivergedError, Reporter, StoppedError, Trainer
from lbench.rundir import RunDir, without_nan, write_json


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """Where and how a job runs; not part of the fingerprint.

    Args:
        device: of the run.
        threads: of torch on the CPU.
        checkpoint_every: seconds between checkpoints.
    """

    device: torch.device
    threads: int
    checkpoint_every: float = 30.0

    def environment(self) -> dict[str, Any]:
        """What a resumed run compares: versions, device, threads, kind of processor."""
        return {
            "lbench": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "device": str(self.device),
            "device_name": torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else torch.backends.cpu.get_cpu_capability(),
            "threads": self.threads,
        }


def parameters(rule: Rule, shape: tuple[int, int, int]) -> dict[str, int]:
    """P_inf, P_aux and P_fix: reached by the graph of ``predict``, other trained, never trained."""
    device = next(rule.parameters()).device
    trained = {id(p): p for group in rule.groups() for p in group.params.values()}
    asking = [p for p in rule.parameters() if p.requires_grad]
    rule.eval()
    found = reached(rule.predict(torch.zeros(2, *shape, device=device)), asking)
    rule.train()
    inference = {id(p) for p, hit in zip(asking, found, strict=True) if hit}
    return {
        "inf": sum(p.numel() for p in asking if id(p) in inference),
        "aux": sum(p.numel() for key, p in trained.items() if key not in inference),
        "fix": sum(p.numel() for p in rule.parameters() if not p.requires_grad),
    }


def train(
    resolved: Resolved,
    seed: int,
    attempt: int,
    run_dir: RunDir,
    machine: Machine,
    reporter: Reporter,
    started: Callable[[], None],
    *,
    probes: Sequence[str] = (),
) -> tuple[dict[str, Any], bool]:
    """Trains the run to its end; the caller holds the directory's lock.

    Args:
        started: called when ``spec.json`` is written, before the first step.
        probes: names of probes that look at the run.

    Returns:
        What ``result.json`` holds, and whether we were asked to stop. With status ``killed`` there
        is no such file, and the same call goes on from the checkpoint.
    """
    torch.set_num_threads(machine.threads)
    peak = Peak(machine.device)
    cell = resolved.cell
    rule = cell.build(seed).to(machine.device)
    training, validation, test = _data(resolved, machine.device)
    plan = Plan.of(
        len(training),
        cell.recipe.batch,
        cell.budget.epochs,
        cell.budget.examples,
        rule.phases(),
    )
    randomness = Randomness(seed)
    augmentation = Augmentation.parse(cell.augmentation)
    batches = Batches(training, cell.recipe.batch, randomness.generator, augmentation)
    watching = None
    if probes:
        scene = _scene(resolved, rule, training, validation, randomness, plan)
        watching = Probes(probes, scene, run_dir, reporter.note)
    _write_spec(resolved, rule, seed, attempt, run_dir, machine, reporter, training, validation)
    started()
    trainer = Trainer(
        rule,
        batches,
        validation,
        cell.recipe,
        plan,
        randomness,
        run_dir,
        reporter,
        precision=cell.precision,
        checkpoint_every=machine.checkpoint_every,
        glances=Glances(plan.steps, seed),
        peak=peak,
        probes=watching,
    )
    with _stopping(trainer):
        try:
            trainer.train()
            result = _finish(trainer, test, run_dir)
        except StoppedError:
            return _result(trainer, "killed", "interrupted"), True
        except DivergedError as error:
            result = _result(trainer, "diverged", str(error))
        result |= _audit(trainer, cell)
    if watching is not None:
        watching.finish()
    write_json(run_dir.path / "result.json", result)
    checkpoint.clear(run_dir.path)
    probing.clear(run_dir)
    return result, trainer.stop


def _data(
    resolved: Resolved, device: torch.device
) -> tuple[DeviceData, DeviceData | None, DeviceData]:
    """Training, validation (strict protocol) and test data on the device."""
    data = resolved.dataset
    standard = (data.mean, data.std) if resolved.source.standardize else (None, None)
    test = DeviceData.of(data.test, None, device, *standard)
    share = resolved.cell.validation
    if not share:
        return DeviceData.of(data.train, None, device, *standard), None, test
    kept, held = holdout(data.train.labels, share, data.digest)
    return (
        DeviceData.of(data.train, kept, device, *standard),
        DeviceData.of(data.train, held, device, *standard),
        test,
    )


def _scene(
    resolved: Resolved,
    rule: Rule,
    training: DeviceData,
    validation: DeviceData | None,
    randomness: Randomness,
    plan: Plan,
) -> Scene:
    """What probes may look at: the same examples are held out under both protocols."""
    if validation is not None:
        return Scene(rule, training, validation, randomness, plan.steps, plan.per_epoch)
    data = resolved.dataset
    kept, held = (
        Part(training, torch.from_numpy(rows).to(training.device))
        for rows in holdout(data.train.labels, VALIDATION, data.digest)
    )
    return Scene(rule, kept, held, randomness, plan.steps, plan.per_epoch)


def _write_spec(
    resolved: Resolved,
    rule: Rule,
    seed: int,
    attempt: int,
    run_dir: RunDir,
    machine: Machine,
    reporter: Reporter,
    training: DeviceData,
    validation: DeviceData | None,
) -> None:
    """Writes ``spec.json``, or says what differs from the process that began the run."""
    cell, data = resolved.cell, resolved.dataset
    environment = machine.environment()
    if (before := run_dir.spec()) is not None:
        was = before["environment"]
        changed = [
            f"{name} {was[name]} -> {now}" for name, now in environment.items() if was[name] != now
        ]
        if changed:
            reporter.note(
                "Goes on in another environment, so the result need not be bit-identical to that "
                f"of an uninterrupted run: {', '.join(changed)}."
            )
            # Times and memory will be those of this process.
            earlier = [*before.get("earlier_environments", []), was]
            now = {**before, "environment": environment, "earlier_environments": earlier}
            write_json(run_dir.path / "spec.json", now)
        return
    content = {
        "format": 1,
        "fingerprint": cell.run_fingerprint(seed),
        "cell": cell.fingerprint,
        "cell_id": cell.id,
        "attempt": attempt,
        "seed": seed,
        "spec": cell.spec(),
        "params": parameters(rule, cell.task.shape),
        "claims": rule.claims(cell.config, rule.network).as_dict(),
        "data": {
            "title": data.title,
            "variant": data.variant,
            "digest": data.digest,
            "train": len(training),
            "validation": len(validation) if validation is not None else 0,
            "test": len(data.test),
            "classes": data.num_classes,
        },
        "environment": environment,
        "started": time.time(),
    }
    write_json(run_dir.path / "spec.json", content)


def _finish(trainer: Trainer, test: DeviceData, run_dir: RunDir) -> dict[str, Any]:
    """Reads the test set for the last and the best-validation weights, and keeps both."""
    rule, clock, precision = trainer.rule, trainer.clock, trainer.precision
    with clock.measure("evaluation"):
        train = evaluate(rule, trainer.batches.data, precision)
        if not train.finite:
            raise DivergedError(trainer.index, train.loss, "training loss")
        last = evaluate(rule, test, precision)
    _keep(rule, last, run_dir, "weights.pt", "test_logits.npy")
    result = {
        **_result(trainer, "finished", None),
        "train_error": train.error,
        "test_error": last.error,
        "test_loss": without_nan(last.loss),
        "test_reads": 1,
    }
    if trainer.best is not None:
        best = last
        if result["best_epoch"] != result["epochs"]:
            rule.load_state_dict(trainer.best.weights)
            with clock.measure("evaluation"):
                best = evaluate(rule, test, precision)
            result["test_reads"] = 2
        _keep(rule, best, run_dir, "weights-best-val.pt", "test_logits_best_val.npy")
        result["test_error_at_best_val"] = best.error
    return result


def _audit(trainer: Trainer, cell: Cell) -> dict[str, Any]:
    """What the rule was seen to do, in this run and on a small network."""
    rule, glances = trainer.rule, trainer.glances
    claims = rule.claims(cell.config, rule.network).as_dict()
    full = audited(cell, rule.network, trainer.reporter.note)
    return {
        **verdict(claims, full, glances.found if glances else []),
        "glances": glances.as_list() if glances else [],
        "seconds": trainer.clock.seconds(),
    }


def _keep(rule: Rule, result: Evaluation, run_dir: RunDir, weights: str, logits: str) -> None:
    checkpoint.write_tensors(run_dir.path / weights, {"rule": rule.state_dict()})
    np.save(run_dir.path / logits, result.logits.numpy())


def ended(status: str, reason: str | None) -> dict[str, Any]:
    """What ``result.json`` holds of a run of which nothing else is known."""
    unknown = (
        "train_error",
        "val_error",
        "test_error",
        "test_error_at_best_val",
        "best_epoch",
        "seconds",
        "step_ms",
        "peak_memory_mib",
        "step_memory_mib",
        "steps",
        "epochs",
    )
    return {
        "status": status,
        "reason": reason,
        **dict.fromkeys(unknown),
        "test_reads": 0,
        "audit": None,
        "contradictions": [],
        "glances": [],
        "ended": time.time(),
    }


def _result(trainer: Trainer, status: str, reason: str | None) -> dict[str, Any]:
    rows = trainer.run_dir.epochs()
    return {
        **ended(status, reason),
        "val_error": rows[-1]["val_error"] if rows and status == "finished" else None,
        "best_epoch": trainer.best.epoch if trainer.best else None,
        "seconds": trainer.clock.seconds(),
        "step_ms": trainer.step_ms,
        "peak_memory_mib": trainer.peak.mib(),
        "step_memory_mib": trainer.step_memory.mib,
        "steps": trainer.index,
        "epochs": len(rows),
    }


@contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """The first interrupt lets the trainer write a checkpoint and stop; a second ends at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True
        trainer.reporter.note("Stopping: writing a checkpoint. Interrupt again to end at once.")

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # not in the main thread: whoever started us handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
