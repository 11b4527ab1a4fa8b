"""Steering a job from outside: by appending to a file that its runner polls. No sockets, no ports.

So whoever sees the folder can steer, from the job's machine or from another that shares the disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from ecgconsole.errors import EcgConsoleError, MachineError, error_of
from ecgconsole.jobs.events import utc_now
from ecgconsole.jobs.processes import host_name
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.jobs.state import read_snapshot
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

ACTIONS = ("stop", "stop-now", "pause", "resume", "checkpoint")


def request(workspace: Workspace, action: str) -> Snapshot:
    """Asks the running job to ``stop``, ``stop-now``, ``pause``, ``resume`` or ``checkpoint``.

    Returns the job as it was when asked; that it obeys shows in its events (``control``). Raises
    ``EcgConsoleError`` when no job runs there.
    """
    if action not in ACTIONS:
        raise ValueError(f"no such action: {action}")
    snapshot = read_snapshot(workspace)
    if snapshot is None:
        raise EcgConsoleError(f"no job has run in {workspace.folder}")
    if not snapshot.alive:
        raise EcgConsoleError(f"no job runs in {workspace.folder}: run {snapshot.run_id} is {snapshot.status}")
    line = json.dumps({"action": action, "time": utc_now(), "host": host_name(), "pid": os.getpid()})
    path = workspace.run(snapshot.run_id).control
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, b"\n" + line.encode() + b"\n")  # whatever a torn writer left ends here
        finally:
            os.close(fd)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error
    return snapshot


def start_run(workspace: Workspace, arguments: Sequence[str], seconds: float = 30.0) -> str:
    """Starts ``ecgconsole ARGUMENTS`` (``run --no-tui ...``) detached, and returns its run id.

    The job lives in a session of its own, with its standard streams on files, so nothing that happens to
    this process or its terminal reaches it. Raises the job's own error when it ends before it has a run.
    """
    workspace.runs.mkdir(parents=True, exist_ok=True)
    with (workspace.runs / "launch.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ecgconsole", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        exit_code = process.poll()
        snapshot = read_snapshot(workspace)
        if snapshot is not None and snapshot.pid == process.pid and snapshot.host == host_name():
            return snapshot.run_id
        if exit_code is not None:
            said = (workspace.runs / "launch.log").read_text(errors="replace").strip().removeprefix("ecgconsole: ")
            raise error_of(exit_code, sanitise(said) or f"the job ended at once, with exit code {exit_code}")
        time.sleep(0.05)
    raise MachineError(f"the job did not start within {seconds:.0f} s; see {workspace.runs / 'launch.log'}")
