"""Runs code in a forked process: ``python interpreter.py FOLDER -u -c CODE``.

pytest-xdist starts this instead of a new interpreter. The code runs in the forked process, which
has the standard streams of this process; this one waits for its end. The server that forks is in
FOLDER, see `tests.forked`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from multiprocessing import reduction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import forked


class Streams:
    """The standard streams, which can be sent to another process."""

    def __init__(self) -> None:
        self.files: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"files": [reduction.DupFd(number) for number in range(3)]}

    def take(self) -> None:
        """Make them the standard streams of this process."""
        for number, file in enumerate(self.files):
            descriptor = file.detach()
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            for number, mode in enumerate("rww")
        )


def do(code: str, streams: Streams, cwd: str) -> None:
    """Run the code in the forked process."""
    streams.take()
    os.chdir(cwd)
    sys.argv = ["-c"]
    exec(code, {"__name__": "__main__"})
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


if __name__ == "__main__":
    folder, *_, code = sys.argv[1:]
    forked.start_server(Path(folder))
    from tests import interpreter

    arguments = (code, interpreter.Streams(), str(Path.cwd()))
    process = forked.CONTEXT.Process(target=interpreter.do, args=arguments)
    process.start()
    process.join()
    sys.exit(process.exitcode)
