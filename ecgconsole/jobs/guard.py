"""Ends what a killed runner leaves behind. ``python -m ecgconsole.jobs.guard MARKER``, stdin from the runner.

A runner that gets SIGKILL can end nothing any more. Its engine dies with it, but what the engine
started may not: process pools and torchrun leave their workers alive. This process lives in a session
of its own, waits for the runner's end of the pipe to close, and kills all that carries the marker.
"""

from __future__ import annotations

import os
import signal
import sys

from ecgconsole.jobs.processes import kill_marked


def main() -> None:
    marker = sys.argv[1]
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # a batch system sends them to all processes of a job
    while os.read(0, 1):
        pass
    raise SystemExit(1 if kill_marked(marker, seconds=60.0) else 0)


if __name__ == "__main__":
    main()
