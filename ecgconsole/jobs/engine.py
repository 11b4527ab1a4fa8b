"""One stage in a process of its own.

Started by the runner: ``python -m ecgconsole.jobs.engine STAGE MODULE:FUNCTION RUNNER CONTROL EVENTS``, its pid and
the numbers of two pipes.

Events go up, one JSON line each (``{"event": ...}``), and at the end one
line: an event of kind ``stage_result``, or ``{"error": ..., "exit_code": ...}``. Down comes the job
(``{"folder": ..., "run": ..., "options": ...}``), for which the stage's imports do not wait, then commands; and
the end of that pipe means that the runner is gone: then all of this ends at once.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ecgconsole.errors import EcgConsoleError, ExitCode
from ecgconsole.jobs.processes import MARKER_VARIABLE, die_with_parent, kill_marked, leave
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    stage, target, *numbers = sys.argv[1:]
    runner, control, events = map(int, numbers)
    die_with_parent(runner)
    for pipe in (control, events):
        os.set_inheritable(pipe, False)
    stop, send = Stop(), _Sender(events)
    jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        # Batch systems and systemd signal all processes of a job: here, too, that is a staged stop. Not from
        # the handler itself, which may have interrupted the stage inside a lock of ``stop``.
        signal.signal(number, lambda *_: threading.Thread(target=stop.request, daemon=True).start())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    commands = os.fdopen(control, "rb", buffering=0)
    threading.Thread(target=_obey, args=(commands, stop, jobs), name="control", daemon=True).start()
    # What a stage makes is on disk when it returns.
    leave(_perform(stage, target, jobs, stop, send))


@dataclass(frozen=True)
class _Job:
    folder: str
    run: str
    options: dict[str, Any]


class _Sender:
    """Writes whole lines to the runner, from any thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]


def _obey(commands: BinaryIO, stop: Stop, jobs: queue.SimpleQueue[_Job]) -> None:
    actions: dict[str, Callable[[], None]] = {
        "stop": stop.request,
        "pause": stop.pause,
        "resume": stop.resume,
        "checkpoint": stop.request_checkpoint,
        "terminate": lambda: os._exit(128 + signal.SIGTERM),
    }
    for line in commands:
        message = json.loads(line)
        if "action" in message:
            actions[message["action"]]()
        else:
            jobs.put(_Job(**message))
    kill_marked(os.environ.get(MARKER_VARIABLE, ""), seconds=2.0)
    os._exit(ExitCode.STAGE_FAILED)


def _perform(stage: str, target: str, jobs: queue.SimpleQueue[_Job], stop: Stop, send: _Sender) -> int:
    """Runs the stage and sends its outcome; returns the exit code."""
    job: _Job | None = None
    try:
        name, _, function = target.partition(":")
        try:
            module = importlib.import_module(name)
            if hasattr(module, "begin"):
                module.begin()
            # Only now: this takes long, and what the stage has begun starts meanwhile.
            from ecgconsole import config as configuration
        finally:  # an import that failed is told in the run's log, too
            job = jobs.get()
            workspace = Workspace(Path(job.folder))
            run = workspace.run(job.run)
            _print_to(run.engine_log)
        config = configuration.load(run.config)
        reporter = Reporter(stage, lambda event: send({"event": event}))
        options = {k: _path_or_value(k, v) for k, v in job.options.items()}
        reporter.emit("stage_result", result=getattr(module, function)(config, workspace, reporter, stop, **options))
    except Exception as error:  # noqa: BLE001 - the boundary of the process: each kind becomes its exit code
        code, message = _explain(error, stage, job.run if job else "")
        send({"error": message, "exit_code": int(code)})
        return int(code)
    return int(ExitCode.DONE)


def _print_to(log: Path) -> None:
    """Standard output and error go to the log from now on, and with them what was printed so far."""
    sys.stdout.flush()
    with log.open("ab") as file:
        early = os.fstat(1).st_size
        file.write(os.pread(1, early, 0))
        file.flush()
        os.ftruncate(1, 0)
        for fd in (1, 2):
            os.dup2(file.fileno(), fd)


def _path_or_value(name: str, value: Any) -> Any:
    """Options that name files are ``Path`` to a stage."""
    if name in ("checkpoint", "patterns"):
        return Path(value)
    return [Path(v) for v in value] if name in ("embeddings", "features") else value


def _explain(error: Exception, stage: str, run: str) -> tuple[ExitCode, str]:
    if isinstance(error, EcgConsoleError):
        return error.exit_code, str(error)
    traceback.print_exc()  # to engine.log
    where = f"runs/{run}/engine.log"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        at = f" while writing {error.filename}" if error.filename else ""
        return ExitCode.MACHINE, f"the disk is full{at}. Free space and give the same command again: it continues."
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return ExitCode.MACHINE, f"the disk is read-only: {error.filename}"
    if isinstance(error, MemoryError):
        return ExitCode.MACHINE, f"out of memory in stage {stage}; use fewer workers or smaller batches"
    last = sanitise(f"{type(error).__name__}: {error}", 500)
    return ExitCode.STAGE_FAILED, f"stage {stage} failed: {last} (the whole trace is in {where})"


if __name__ == "__main__":
    main()
