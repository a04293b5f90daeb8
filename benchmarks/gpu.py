"""All that is measured on a GPU, in one call of a few minutes; needs neither data nor a store.

- rates of the device: matrix products in float32 and bfloat16, and copies;
- steps of rules, relative to those of bp, in both precisions;
- an epoch of 50,000 images of 32 x 32 pixels, resident on the device, in bfloat16, and its floor:
  the operations of its steps at the rate of matrix products;
- memory of a step on resnet50, batch 32, 224 x 224;
- whether a run that is killed and resumed ends with the weights of one that is not;
- four runs at a time on one device, through the worker pool, relative to one run.

    python benchmarks/gpu.py [--device cuda] [--parts rates,steps,epoch,memory,resume,pool]

``--small`` runs everything in small, which checks this program on a CPU.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from memory import SIDES, make
from timing import machine, verdict

from lbench.data.loader import Batches, DeviceData
from lbench.execute.messages import Ended, Job
from lbench.execute.pool import Pool
from lbench.home import Home
from lbench.init import Init
from lbench.networks.spec import network_spec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.rundir import RunDir
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.testing.practice import SilentReporter
from lbench.training.evaluation import autocast
from lbench.training.resolve import Request
from lbench.training.step_flops import Products
from lbench.training.step_plan import StepPlan
from lbench.training.trainer import Trainer
from lbench.training.trainer_parts import Output, Procedure, TrainingData
from lbench.training.weights import LAST, read_weights

RULES = ("bp", "lfnn_l", "lfnn_l_rr", "pred", "predsim", "fa", "dfa")
NETWORKS: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "mlp": ((1, 28, 28), {"widths": (1000,) * 4}),
    "cnn-876k": ((3, 32, 32), {}),
}
PRECISIONS = ("fp32", "bf16")
EPOCH_BAR, FLOOR_BAR = 1.0, 3.0
RUN = ("--rule", "lfnn_l", "--dataset", "digits", "--epochs", "6", "--no-store")


@dataclass(frozen=True)
class Sizes:
    """The sizes of all measurements.

    Args:
        steps: steps per timing.
        repeats: timings, of which the median counts.
        side: rows and columns of the matrices whose product is timed.
        rows: examples per step.
        images: training images of the epoch.
        large: name of the network whose memory is measured.
        pixels: height and width of its images.
        batch: their number.
    """

    steps: int = 50
    repeats: int = 7
    side: int = 8192
    rows: int = 128
    images: int = 50_000
    large: str = "resnet50"
    pixels: int = 224
    batch: int = 32


SMALL = Sizes(1, 1, side=64, rows=2, images=4, large="resnet18", pixels=32, batch=2)


class Device:
    """The device under measurement.

    Args:
        name: its name for PyTorch.
        sizes: sizes of the measurements.
    """

    def __init__(self, name: str, sizes: Sizes) -> None:
        self.device = torch.device(name)
        self.sizes = sizes
        self._rates: dict[str, float] = {}

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """Return the median seconds of ``times`` calls, without the first round."""
        measured = []
        for _ in range(self.sizes.repeats + 1):
            self.wait()
            begin = time.perf_counter()
            for _ in range(times):
                work()
            self.wait()
            measured.append(time.perf_counter() - begin)
        return statistics.median(measured[1:])

    def rate(self, precision: str) -> float:
        """Return the operations per second of a large matrix product."""
        if precision not in self._rates:
            n = self.sizes.side
            a = torch.randn(n, n, device=self.device)
            with torch.no_grad(), autocast(self.device, precision):
                self._rates[precision] = 2 * n**3 / self.seconds(lambda: a @ a)
        return self._rates[precision]

    def batch(self, count: int, shape: tuple[int, int, int], classes: int) -> Batch:
        """Return random images and labels."""
        x = torch.randn(count, *shape, device=self.device)
        return Batch(x, torch.randint(classes, (count,), device=self.device))

    def rule(self, name: str, network: str, classes: int = 10, **options: Any) -> Rule:
        """Return a rule with optimizers on a network of the table, on the device."""
        shape, net = NETWORKS.get(network, ((3, self.sizes.pixels, self.sizes.pixels), {}))
        known, init = registry(), Init(0)
        spec = network_spec(known.find("networks", network), known.load("networks", network), net)
        task = Task("random", shape, classes)
        rule = make(name, options, spec.build(init, shape, classes), task, init)
        return rule.to(self.device).train()

    def stepper(self, rule: Rule, batch: Batch, precision: str) -> Callable[[], None]:
        """Return a function that makes a training step."""
        index = 0

        def step() -> None:
            nonlocal index
            s = Step(Randomness(0), index, device=self.device)
            with autocast(self.device, precision):
                rule.step(rule.prepare(batch, s), s)
                rule.after_step(s)
            index += 1

        return step


def rates(device: Device) -> bool:
    """Print the rates of matrix products and copies."""
    for precision in PRECISIONS:
        print(f"matrix products, {precision}: {device.rate(precision) / 1e12:.1f} TFLOP/s")
    t = torch.empty(device.sizes.side**2, device=device.device)
    print(f"copies: {2 * t.nbytes / device.seconds(t.clone) / 1e9:.0f} GB/s")
    return True


def steps(device: Device) -> bool:
    """Print the time of a step of each rule."""
    count = device.sizes.steps
    for network, (shape, _) in NETWORKS.items():
        batch = device.batch(device.sizes.rows, shape, 10)
        for precision in PRECISIONS:
            reference = None
            for name in RULES:
                step = device.stepper(device.rule(name, network), batch, precision)
                ms = 1e3 * device.seconds(step, count) / count
                reference = reference or ms
                print(f"{network}, {precision}: {name} {ms:.3f} ms, {ms / reference:.2f} x bp")
    return True


def epoch(device: Device) -> bool:
    """Print the time of an epoch in bfloat16, and its floor."""
    met = True
    count = device.sizes.images
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, device=device.device)
    labels = torch.randint(10, (count,), device=device.device)
    data = DeviceData(images, labels, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    for name in ("bp", "lfnn_l"):
        rule = device.rule(name, "cnn-876k")
        default = Recipe(**registry().load("datasets", "cifar10").recipe)
        recipe = type(rule).recipe(default, "cifar10", "cnn-876k")
        with Products() as products:
            device.stepper(rule, device.batch(device.sizes.rows, (3, 32, 32), 10), "bf16")()
        taken = []
        for epochs in (1, 3):
            rule = device.rule(name, "cnn-876k")
            plan = StepPlan.of(count, device.sizes.rows, epochs, None, rule.phases())
            with tempfile.TemporaryDirectory() as folder:
                batches = Batches(data, device.sizes.rows, Randomness(0).generator)
                procedure = Procedure(recipe, plan, Randomness(0), "bf16")
                output = Output(RunDir(Path(folder)), SilentReporter())
                trainer = Trainer(rule, TrainingData(batches), procedure, output)
                device.wait()
                begin = time.perf_counter()
                trainer.train()
                device.wait()
                taken.append(time.perf_counter() - begin)
        seconds = (taken[1] - taken[0]) / 2
        floor = products.flops * (count / device.sizes.rows) / device.rate("bf16")
        print(f"{name}: {seconds:.2f} s per epoch, {seconds / floor:.1f} x its floor {floor:.3f} s")
        if name == "lfnn_l":
            met &= verdict("epoch of lfnn_l, s", seconds, EPOCH_BAR)
            met &= verdict("the same, times its floor", seconds / floor, FLOOR_BAR)
    return met


def memory(device: Device) -> bool:
    """Print the memory and time of a step on a large network."""
    sizes = device.sizes
    for label, side in SIDES["resnet50"].items():
        rule = device.rule(side.rule, sizes.large, 1000, **side.options)
        batch = device.batch(sizes.batch, (3, sizes.pixels, sizes.pixels), 1000)
        step = device.stepper(rule, batch, "fp32")
        step()  # the optimizers make their state
        peak = 0.0
        if device.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device.device)
            before = torch.cuda.memory_allocated(device.device)
            step()
            peak = (torch.cuda.max_memory_allocated(device.device) - before) / 2**20
        print(f"{label}: {peak:.0f} MiB, {1e3 * device.seconds(step):.1f} ms per step")
    return True


def resume(device: Device) -> bool:
    """Print the largest difference between a run's weights and those of a run that was killed."""
    command = [sys.executable, "-m", "lbench", "run", *RUN, "--device", str(device.device)]
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder, name) for name in ("whole", "killed")]
        subprocess.run([*command, "--home", homes[0]], check=True, capture_output=True)
        killed = [*command, "--home", str(homes[1]), "--checkpoint-every", "0"]
        with subprocess.Popen(killed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and not any(map(trained, homes[1].rglob("*.jsonl"))):
                time.sleep(0.02)
            early = process.poll() is None
            process.send_signal(signal.SIGKILL)
        subprocess.run(killed, check=True, capture_output=True)
        one, other = (read_weights(next(home.rglob(LAST))) for home in homes)
    largest = max(float((one[name] - other[name]).abs().max()) for name in one)
    print(f"killed before its end: {early}; largest difference of weights: {largest:.3g}")
    return early


def trained(log: Path) -> bool:
    """Return whether an epoch log has two epochs."""
    return log.read_text().count("\n") >= 2


def pool(device: Device) -> bool:
    """Print the time of four runs at once on the device, relative to one."""
    epochs = 2 if device.sizes is SMALL else 40
    seconds = []
    for count in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder))
            home.prepare()
            with Pool(home, [str(device.device)] * count, threads=1) as workers:
                for turn in range(2):  # the first turn starts the processes
                    begin = time.perf_counter()
                    for seed in range(count):
                        request = Request("lfnn_l", "digits", epochs=epochs)
                        workers.submit(Job((turn, seed), request, 10 * turn + seed))
                    results: list[dict[str, Any]] = []
                    while len(results) < count:
                        events = workers.events(1.0)
                        results += [event.result for event in events if isinstance(event, Ended)]
                    taken = time.perf_counter() - begin
        if failed := [result for result in results if result["status"] != "finished"]:
            raise RuntimeError(json.dumps(failed[0]))
        seconds.append(taken)
    print(f"four runs at once take {seconds[1] / seconds[0]:.2f} times as long as one")
    return True


PARTS: dict[str, Callable[[Device], bool]] = {
    part.__name__: part for part in (rates, steps, epoch, memory, resume, pool)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--small", action="store_true", help="Sizes that a CPU can do.")
    arguments = parser.parse_args()
    device = Device(arguments.device, SMALL if arguments.small else Sizes())
    print(machine())
    if device.device.type == "cuda":
        print(torch.cuda.get_device_name(device.device))
    met = [PARTS[name](device) for name in arguments.parts.split(",")]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
