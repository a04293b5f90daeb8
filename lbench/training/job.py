"""A job: the training of one run in its directory, up to ``result.json``."""

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
from lbench.data.stream import batches_of
from lbench.network import affecting, reached
from lbench.probe import Examples, Scene
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.rundir import RunDir, write_json
from lbench.threads import cores
from lbench.training import checkpoint, plugin_errors
from lbench.training.cell import Cell
from lbench.training.device_data import load_test_set, training_parts
from lbench.training.files import Files
from lbench.training.forecast import Forecast, predicted_at_end
from lbench.training.full_audit import expected_seconds, regrouped
from lbench.training.glances import Glances, glance_steps
from lbench.training.memory import Peak
from lbench.training.reporter import CONTINUABLE, INTERRUPTED, Reporter
from lbench.training.resolve import VALIDATION, Resolved
from lbench.training.results import audit, complete, finish, result_so_far
from lbench.training.run_probes import Part, Probes, clear_probe_rows
from lbench.training.step_plan import StepPlan
from lbench.training.threads import threads_for
from lbench.training.trainer import DivergedError, StoppedError, Trainer
from lbench.training.trainer_parts import Monitors, Output, Procedure, ReadCount, TrainingData
from lbench.training.weights import description


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how a job runs; this is not part of the fingerprint.

    Args:
        device: device of the run.
        threads: threads of PyTorch on the CPU; None chooses the number by the network's size.
        checkpoint_every: seconds between checkpoints; None for as many as cost little, see
            :class:`lbench.training.trainer_parts.Output`.
        cores: cores that a run may use if ``threads`` is None.
        audit: whether some steps of the run, and its rule on a small network, are audited.
        loader_workers: number of processes that decode streamed images; None for ``cores``.
    """

    device: torch.device
    threads: int | None = None
    checkpoint_every: float | None = None
    cores: int = field(default_factory=cores)
    audit: bool = True
    loader_workers: int | None = None

    @property
    def loaders(self) -> int:
        """Return the number of processes that decode streamed images."""
        return self.loader_workers or self.cores

    def build(self, cell: Cell, seed: int, run_dir: RunDir) -> tuple[Rule, Machine]:
        """Build a run's rule on the device, and set the number of threads in torch.

        Returns:
            The rule, and this machine with the number of threads.
        """
        # Initial weights must not depend on the threads of what this process did before.
        torch.set_num_threads(self.threads or 1)
        rule = cell.build(seed)
        settled = self.settle(cell, rule, run_dir)
        return rule.to(self.device), settled

    def settle(self, cell: Cell, rule: Rule, run_dir: RunDir) -> Machine:
        """Decide the number of threads, and set it in torch.

        The user's number comes first, then the number that the run began with, then the number
        for the network's size.
        """
        threads = self.threads
        if threads is None and (spec := run_dir.spec()) is not None:
            threads = spec["environment"]["threads"]
        if threads is None:
            examples = cell.examples_at_once
            threads = threads_for(rule.network, cell.task.shape, examples, self.cores)
        torch.set_num_threads(threads)
        return replace(self, threads=threads)

    def environment(self) -> dict[str, Any]:
        """Return what a resumed run compares: versions, device, threads, kind of processor."""
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
    """Return the numbers P_inf (used by ``predict``), P_aux (other trained) and P_fix (fixed).

    A parameter is used by ``predict`` if its graph reaches the parameter. Because ``predict`` may
    cut the graph or keep none, a parameter that changes the logits counts too.
    """
    device = next(rule.parameters()).device
    trained = {id(p): p for group in rule.groups() for p in group.params.values()}
    trainable = [p for p in rule.parameters() if p.requires_grad]
    rule.eval()
    x = torch.zeros(2, *shape, device=device)
    is_reached = reached(rule.predict(x), trainable)
    inference = {id(p) for p, hit in zip(trainable, is_reached, strict=True) if hit}
    rest = [p for p in trainable if id(p) not in inference]
    inference |= {id(p) for p in affecting(lambda: rule.predict(x), rest)}
    rule.train()
    return {
        "inf": sum(p.numel() for p in trainable if id(p) in inference),
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
) -> tuple[dict[str, Any], str | None]:
    """Train the run to its end; the caller holds the directory's lock.

    Args:
        started: called when ``spec.json`` is written, before the first step.
        probes: names of the probes of the run.
        trial: whether the run is a trial of a search: the test set is then not read, and the rule
            is not audited on a small network.

    Returns:
        The content of ``result.json``, and one of :data:`CONTINUABLE` if the run was stopped, else
        None. With status ``killed`` there is no such file. After ``killed`` and ``pruned`` the same
        call continues from the checkpoint.
    """
    peak = Peak(machine.device)
    cell = resolved.cell
    reading = Files(resolved, reporter.note)
    with reading.watching():
        rule, machine = machine.build(cell, seed, run_dir)
    data = training_parts(resolved, machine.device, machine.loaders)
    training, validation = data.training, data.validation
    test = partial(load_test_set, resolved, machine.device, machine.loaders)
    procedure = _procedure(cell, rule, training, seed)
    run_probes, reads = None, ReadCount()
    if probes:
        scene = _scene(resolved, rule, data, test, procedure, reads)
        run_probes = Probes(probes, scene, run_dir, reporter.note)
    _write_spec(resolved, rule, seed, attempt, run_dir, machine, reporter, training, validation)
    (run_dir.path / "result.json").unlink(missing_ok=True)  # of a pruned run that continues
    started()
    steps = glance_steps(procedure.plan, seed) if machine.audit else frozenset[int]()
    glances = Glances(steps, seed, reading.of_dataset)
    forecast = _forecast(resolved, rule, data, procedure.plan, steps, machine, trial=trial)
    trainer = Trainer(
        rule,
        TrainingData(_batches(cell, training, procedure.randomness), validation),
        procedure,
        Output(run_dir, reporter, machine.checkpoint_every),
        Monitors(glances, run_probes, peak, forecast, reads),
    )
    with _stopping(trainer), reading.watching():
        try:
            trainer.train()
            result = finish(trainer, test, run_dir, description(resolved, seed), trial=trial)
        except StoppedError as stopped:
            if (reason := str(stopped)) in CONTINUABLE:
                return result_so_far(trainer, "killed", reason), reason
            result = result_so_far(trainer, "pruned", reason)
        except DivergedError as error:
            result = result_so_far(trainer, "diverged", str(error))
        full = machine.audit and not trial and result["status"] != "pruned"
        result |= audit(cell, rule, trainer.glances, trainer.clock, reporter.note, full=full)
    if result["status"] == "pruned":
        write_json(run_dir.path / "result.json", result)
        return result, None
    if run_probes is not None:
        run_probes.finish()
    write_json(run_dir.path / "result.json", result)
    checkpoint.clear(run_dir.path)
    clear_probe_rows(run_dir)
    return result, _stopped(trainer)


def _stopped(trainer: Trainer) -> str | None:
    """Return why runs behind this one are not begun: an interrupt, or the time is over by now."""
    stop = trainer.stop or trainer.reporter.stop_reason()
    return stop if stop in CONTINUABLE else None


def _forecast(
    resolved: Resolved,
    rule: Rule,
    data: Parts,
    plan: StepPlan,
    glances: frozenset[int],
    machine: Machine,
    *,
    trial: bool,
) -> Forecast:
    validation = 0 if data.validation is None else len(data.validation)
    audited = machine.audit and not trial
    seconds = expected_seconds(resolved.cell, regrouped(rule.network)) if audited else 0.0
    test = None if trial else resolved.dataset.examples[1]
    end = predicted_at_end(plan, len(data.training), validation, test)
    return Forecast(plan, validation, end, glances, seconds)


def complete_trial(
    resolved: Resolved, seed: int, run_dir: RunDir, machine: Machine, reporter: Reporter
) -> dict[str, Any]:
    """Complete a run that has finished as a trial; the caller holds the directory's lock.

    Raises:
        DamagedError: its weights are missing or damaged.
    """
    result = run_dir.result()
    assert result is not None
    reporter.note("It was a trial of a search: reading the test set with its weights.")
    cell = resolved.cell
    rule, machine = machine.build(cell, seed, run_dir)
    test = load_test_set(resolved, machine.device, machine.loaders)
    return complete(cell, rule, test, run_dir, result, reporter.note)


def _procedure(cell: Cell, rule: Rule, training: DeviceData, seed: int) -> Procedure:
    plan = StepPlan.of(
        [len(segment) for segment in training.segments],
        cell.recipe.batch,
        cell.budget.epochs,
        cell.budget.examples,
        rule.phases(),
    )
    return Procedure(cell.recipe, plan, Randomness(seed), cell.precision, cell.microbatch)


def _batches(cell: Cell, training: DeviceData, randomness: Randomness) -> Batches:
    return batches_of(
        training,
        cell.recipe.batch,
        randomness.generator,
        Augmentation.parse(cell.augmentation),
        epochs=cell.budget.epochs or 1,
    )


def _scene(
    resolved: Resolved,
    rule: Rule,
    data: Parts,
    test: Callable[[], DeviceData],
    procedure: Procedure,
    reads: ReadCount,
) -> Scene:
    """Return what probes may read; the same examples are held out under both protocols."""

    def read() -> list[Part]:
        reads.count += 1
        return _tasks_of(test())

    # A rule reaches probes through its updates: under the strict protocol they hold no test set.
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
    plan, randomness = procedure.plan, procedure.randomness
    return Scene(rule, training, heldout, randomness, plan.steps, plan.per_epoch, ends, judged)


def _tasks_of(examples: DeviceData) -> list[Part]:
    return [
        Part(examples, torch.arange(segment.start, segment.stop, device=examples.device))
        for segment in examples.segments
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
    """Write ``spec.json``, or note how this process differs from the one that began the run."""
    cell, data = resolved.cell, resolved.dataset
    environment = machine.environment()
    if (before := run_dir.spec()) is not None:
        was = before["environment"]
        changed = [
            f"{name} {was[name]} -> {now}" for name, now in environment.items() if was[name] != now
        ]
        if changed:
            reporter.note(
                "Continues in another environment, so the result need not be bit-identical to "
                f"that of an uninterrupted run: {', '.join(changed)}."
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
        "per_block": {name: list(row) for name, row in resolved.per_block.items()},
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
    """Let the first interrupt stop the trainer after a checkpoint, and a second end it at once.

    Raises:
        KeyboardInterrupt: there was a second interrupt.
        RuntimeError: the code of a plugin raised KeyboardInterrupt without an interrupt.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if trainer.stop is not None:
            raise KeyboardInterrupt
        trainer.stop = INTERRUPTED
        trainer.reporter.note("Stopping: writing a checkpoint. Interrupt again to end at once.")

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # outside the main thread the calling program handles signals
        before = {}
    try:
        yield
    except KeyboardInterrupt as error:
        if trainer.stop is not None or plugin_errors.plugin_line(error) is None:
            raise
        problem = RuntimeError("KeyboardInterrupt was raised, but there was no interrupt")
        raise problem.with_traceback(error.__traceback__) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
