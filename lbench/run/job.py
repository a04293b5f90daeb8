"""Job: trains one run of a cell in its directory, and writes how it ended."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType
from typing import Any

import torch

from lbench import __version__
from lbench.data.augment import Augmentation
from lbench.data.loader import Batches, DeviceData
from lbench.data.parts import Parts, held_out
from lbench.network import affecting, reached
from lbench.probe import Examples, Scene
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.run import checkpoint, probing, raised
from lbench.run.cell import Cell
from lbench.run.ending import audit, complete, finish, so_far
from lbench.run.files import Files
from lbench.run.glances import Glances, planned
from lbench.run.memory import Peak
from lbench.run.plan import Plan
from lbench.run.probing import Part, Probes
from lbench.run.resident import resident, unseen_data
from lbench.run.resolve import VALIDATION, Resolved
from lbench.run.threads import threads_for
from lbench.run.trainer import (
    INTERRUPTED,
    DivergedError,
    Reads,
    Reporter,
    StoppedError,
    Trainer,
)
from lbench.run.weights import description
from lbench.rundir import RunDir, write_json
from lbench.threads import cores


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how a job runs; not part of the fingerprint.

    Args:
        device: of the run.
        threads: of torch on the CPU; None for as many as pay for the network.
        checkpoint_every: seconds between checkpoints.
        cores: that a run may use where ``threads`` is None.
        audited: whether some steps of the run and its rule on a small network are looked at.
    """

    device: torch.device
    threads: int | None = None
    checkpoint_every: float = 30.0
    cores: int = field(default_factory=cores)
    audited: bool = True

    def build(self, cell: Cell, seed: int, run_dir: RunDir) -> tuple[Rule, Machine]:
        """Build a run's rule on the device, and set the number of threads in torch.

        Returns:
            The rule, and this machine with the number of threads.
        """
        # Initial weights must not depend on the threads of whatever this process did before.
        torch.set_num_threads(self.threads or 1)
        rule = cell.build(seed)
        settled = self.settle(cell, rule, run_dir)
        return rule.to(self.device), settled

    def settle(self, cell: Cell, rule: Rule, run_dir: RunDir) -> Machine:
        """Decide the number of threads, and set it in torch.

        What the user asked for comes first, then what the run began with, then the network's
        size.
        """
        threads = self.threads
        if threads is None and (spec := run_dir.spec()) is not None:
            threads = spec["environment"]["threads"]
        if threads is None:
            threads = threads_for(rule.network, cell.task.shape, cell.recipe.batch, self.cores)
        torch.set_num_threads(threads)
        return replace(self, threads=threads)

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
    """Return P_inf, P_aux and P_fix: reached by ``predict``, other trained, never trained.

    What the graph of ``predict`` reaches counts. Where it has cut the graph, or keeps none, what
    changes the logits counts too.
    """
    device = next(rule.parameters()).device
    trained = {id(p): p for group in rule.groups() for p in group.params.values()}
    asking = [p for p in rule.parameters() if p.requires_grad]
    rule.eval()
    x = torch.zeros(2, *shape, device=device)
    found = reached(rule.predict(x), asking)
    inference = {id(p) for p, hit in zip(asking, found, strict=True) if hit}
    rest = [p for p in asking if id(p) not in inference]
    inference |= {id(p) for p in affecting(lambda: rule.predict(x), rest)}
    rule.train()
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
    trial: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Trains the run to its end; the caller holds the directory's lock.

    Args:
        started: called when ``spec.json`` is written, before the first step.
        probes: names of probes that look at the run.
        trial: of a search: the test set is not read, and the rule not audited on a small network.

    Returns:
        What ``result.json`` holds, and whether we were interrupted. With status ``killed`` there
        is no such file. With that and with ``pruned`` the same call goes on from the checkpoint.
    """
    peak = Peak(machine.device)
    cell = resolved.cell
    reading = Files(resolved, reporter.note)
    with reading.watching():
        rule, machine = machine.build(cell, seed, run_dir)
    data = resident(resolved, machine.device)
    training, validation = data.training, data.validation
    test = partial(unseen_data, resolved, machine.device)
    plan = Plan.of(
        [len(segment) for segment in training.segments],
        cell.recipe.batch,
        cell.budget.epochs,
        cell.budget.examples,
        rule.phases(),
    )
    randomness = Randomness(seed)
    augmentation = Augmentation.parse(cell.augmentation)
    batches = Batches(
        training,
        cell.recipe.batch,
        randomness.generator,
        augmentation,
        epochs=cell.budget.epochs or 1,
    )
    watching, reads = None, Reads()
    if probes:
        scene = _scene(resolved, rule, data, test, randomness, plan, reads)
        watching = Probes(probes, scene, run_dir, reporter.note)
    _write_spec(resolved, rule, seed, attempt, run_dir, machine, reporter, training, validation)
    (run_dir.path / "result.json").unlink(missing_ok=True)  # of a pruned run that goes on
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
        glances=Glances(planned(plan, seed) if machine.audited else (), seed, reading.of_dataset),
        peak=peak,
        probes=watching,
        reads=reads,
    )
    with _stopping(trainer), reading.watching():
        try:
            trainer.train()
            result = finish(trainer, test, run_dir, description(resolved, seed), trial=trial)
        except StoppedError as stopped:
            if str(stopped) == INTERRUPTED:
                return so_far(trainer, "killed", INTERRUPTED), True
            result = so_far(trainer, "pruned", str(stopped))
        except DivergedError as error:
            result = so_far(trainer, "diverged", str(error))
        full = machine.audited and not trial and result["status"] != "pruned"
        result |= audit(cell, rule, trainer.glances, trainer.clock, reporter.note, full=full)
    if result["status"] == "pruned":
        write_json(run_dir.path / "result.json", result)
        return result, False
    if watching is not None:
        watching.finish()
    write_json(run_dir.path / "result.json", result)
    checkpoint.clear(run_dir.path)
    probing.clear(run_dir)
    return result, trainer.stop == INTERRUPTED


def complete_trial(
    resolved: Resolved, seed: int, run_dir: RunDir, machine: Machine, reporter: Reporter
) -> dict[str, Any]:
    """Completes a run that has finished as a trial; the caller holds the directory's lock.

    Raises:
        DamagedError: its weights are not there, or damaged.
    """
    result = run_dir.result()
    assert result is not None
    reporter.note("It was a trial of a search: reading the test set with its weights.")
    cell = resolved.cell
    rule, machine = machine.build(cell, seed, run_dir)
    test = unseen_data(resolved, machine.device)
    return complete(cell, rule, test, run_dir, result, reporter.note)


def _scene(
    resolved: Resolved,
    rule: Rule,
    data: Parts,
    test: Callable[[], DeviceData],
    randomness: Randomness,
    plan: Plan,
    reads: Reads,
) -> Scene:
    """What probes may look at: the same examples are held out under both protocols."""

    def read() -> list[Part]:
        reads.count += 1
        return _tasks_of(test())

    # Probes are reached from a rule's updates: under the strict protocol they hold no test set.
    judged = read if data.validation is None else partial(_tasks_of, data.validation)
    training: Examples = data.training
    heldout: Examples | None = data.validation
    if heldout is None:
        training, heldout = (
            Part(data.training, rows)
            for rows in held_out(data.training, VALIDATION, resolved.dataset.digest)
        )
    tasks, epochs = len(resolved.dataset.segments), resolved.cell.budget.epochs or 1
    ends = range(epochs, tasks * epochs + 1, epochs)
    return Scene(rule, training, heldout, randomness, plan.steps, plan.per_epoch, ends, judged)


def _tasks_of(examples: DeviceData) -> list[Part]:
    return [
        Part(examples, torch.arange(each.start, each.stop, device=examples.device))
        for each in examples.segments
    ]


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
            "notes": list(data.notes),
        },
        "environment": environment,
        "started": time.time(),
    }
    write_json(run_dir.path / "spec.json", content)


@contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """Let the first interrupt stop the trainer behind a checkpoint, and a second end it at once.

    Raises:
        KeyboardInterrupt: the second interrupt has come.
        RuntimeError: the code of a plugin raised KeyboardInterrupt, though no interrupt has come.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if trainer.stop is not None:
            raise KeyboardInterrupt
        trainer.stop = INTERRUPTED
        trainer.reporter.note("Stopping: writing a checkpoint. Interrupt again to end at once.")

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # not in the main thread: whoever started us handles signals
        before = {}
    try:
        yield
    except KeyboardInterrupt as error:
        if trainer.stop is not None or raised.place(error) is None:
            raise
        problem = RuntimeError("KeyboardInterrupt was raised, but nobody has interrupted")
        raise problem.with_traceback(error.__traceback__) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
