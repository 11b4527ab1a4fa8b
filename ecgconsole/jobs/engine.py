"""One stage in a process of its own. Started by the runner: ``python -m ecgconsole.jobs.engine``.

Two pipes join it to the runner. Events go up, one JSON line each (``{"event": ...}``), and at the end one
line: an event of kind ``stage_result``, or ``{"error": ..., "exit_code": ...}``. Commands come down, and
the end of that pipe means that the runner is gone: then all of this ends at once.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ecgconsole.errors import EcgConsoleError, ExitCode
from ecgconsole.jobs.processes import MARKER_VARIABLE, die_with_parent, kill_marked, leave
from ecgconsole.stage import Reporter, Stop
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("--target", required=True, help="module:function")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--runner", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.runner)
    for pipe in (arguments.control, arguments.events):
        os.set_inheritable(pipe, False)
    stop, send = Stop(), _Sender(arguments.events)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        # Batch systems and systemd signal all processes of a job: here, too, that is a staged stop. Not from
        # the handler itself, which may have interrupted the stage inside a lock of ``stop``.
        signal.signal(number, lambda *_: threading.Thread(target=stop.request, daemon=True).start())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    commands = os.fdopen(arguments.control, "rb", buffering=0)
    threading.Thread(target=_obey, args=(commands, stop), name="control", daemon=True).start()
    # What a stage makes is on disk when it returns.
    leave(_perform(arguments, stop, send))


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


def _obey(commands: BinaryIO, stop: Stop) -> None:
    actions: dict[str, Callable[[], None]] = {
        "stop": stop.request,
        "pause": stop.pause,
        "resume": stop.resume,
        "checkpoint": stop.request_checkpoint,
        "terminate": lambda: os._exit(128 + signal.SIGTERM),
    }
    for line in commands:
        actions[json.loads(line)["action"]]()
    kill_marked(os.environ.get(MARKER_VARIABLE, ""), seconds=2.0)
    os._exit(ExitCode.STAGE_FAILED)


def _perform(arguments: argparse.Namespace, stop: Stop, send: _Sender) -> int:
    """Runs the stage and sends its outcome; returns the exit code."""
    try:
        name, _, function = arguments.target.partition(":")
        module = importlib.import_module(name)
        file = Workspace(Path(arguments.folder)).run(arguments.run).config
        if hasattr(module, "begin"):
            module.begin(file)
        # Only now: this takes long, and what the stage has begun starts meanwhile.
        from ecgconsole import config as configuration

        run = getattr(module, function)
        workspace = Workspace(Path(arguments.folder))
        config = configuration.load(file)
        reporter = Reporter(arguments.stage, lambda event: send({"event": event}))
        options = {k: _path_or_value(k, v) for k, v in arguments.options.items()}
        reporter.emit("stage_result", result=run(config, workspace, reporter, stop, **options))
    except Exception as error:  # noqa: BLE001 - the boundary of the process: each kind becomes its exit code
        code, message = _explain(error, arguments)
        send({"error": message, "exit_code": int(code)})
        return int(code)
    return int(ExitCode.DONE)


def _path_or_value(name: str, value: Any) -> Any:
    """Options that name files are ``Path`` to a stage."""
    if name in ("checkpoint", "patterns"):
        return Path(value)
    return [Path(v) for v in value] if name in ("embeddings", "features") else value


def _explain(error: Exception, arguments: argparse.Namespace) -> tuple[ExitCode, str]:
    if isinstance(error, EcgConsoleError):
        return error.exit_code, str(error)
    traceback.print_exc()  # to engine.log
    where = f"runs/{arguments.run}/engine.log"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        at = f" while writing {error.filename}" if error.filename else ""
        return ExitCode.MACHINE, f"the disk is full{at}. Free space and give the same command again: it continues."
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return ExitCode.MACHINE, f"the disk is read-only: {error.filename}"
    if isinstance(error, MemoryError):
        return ExitCode.MACHINE, f"out of memory in stage {arguments.stage}; use fewer workers or smaller batches"
    last = sanitise(f"{type(error).__name__}: {error}", 500)
    return ExitCode.STAGE_FAILED, f"stage {arguments.stage} failed: {last} (the whole trace is in {where})"


if __name__ == "__main__":
    main()
