"""A driver with a process of its own, to be killed: ``python driver.py HOME EPOCHS``."""

from __future__ import annotations

import sys
from pathlib import Path

from lbench.execute.messages import Job
from lbench.execute.pool import Pool
from lbench.home import Home
from lbench.run.resolve import Request


def main() -> None:
    home, epochs = Home(Path(sys.argv[1])), int(sys.argv[2])
    with Pool(home, ["cpu"], threads=1, checkpoint_every=0) as pool:
        pool.submit(Job("bp", Request("bp", "digits", epochs=epochs), 0))
        while pool.idle() == 0:
            for event in pool.events(60):
                print(event, flush=True)


if __name__ == "__main__":
    main()
