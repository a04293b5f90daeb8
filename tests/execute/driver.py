"""A driver with a process of its own, to be killed: ``python driver.py HOME EPOCHS``."""

from __future__ import annotations

import sys
from pathlib import Path

from lbench.execute.messages import Job
from lbench.execute.pool import Pool
from lbench.home import Home
from lbench.training.resolve import Request


def drive(home: Path, epochs: int) -> None:
    with Pool(Home(home), ["cpu"], threads=1, checkpoint_every=0) as pool:
        pool.submit(Job("bp", Request("bp", "digits", epochs=epochs), 0))
        while pool.idle() == 0:
            pool.events(60)


if __name__ == "__main__":
    drive(Path(sys.argv[1]), int(sys.argv[2]))
