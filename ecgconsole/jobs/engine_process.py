"""The runner's side of an engine: starting it, hearing it, telling it, ending it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgconsole.jobs.processes import MARKER_VARIABLE, kill_marked, reap_orphans, terminate_session
from ecgconsole.stage import Stage
from ecgconsole.workspace import RunFolder, Workspace

if TYPE_CHECKING:
    from ecgconsole.config import Config

RUNGS = ("request", "terminate", "kill")


class EngineProcess:
    """One stage's engine, in its own session, with a pipe up (events) and a pipe down (commands).

    It starts before anyone knows in which folder and with which parameters, imports what the stage needs, and
    waits for ``begin``.
    """

    def __init__(self, stage: Stage, marker: str) -> None:
        self.stage, self.marker = stage, marker
        self._log: Path | None = None
        self._has_ended = False
        # What it prints until it has a log, and what those print whom it starts until then. It moves its own there.
        self._early = tempfile.TemporaryFile()  # noqa: SIM115
        fcntl.fcntl(self._early, fcntl.F_SETFL, fcntl.fcntl(self._early, fcntl.F_GETFL) | os.O_APPEND)
        self._events, events_end = os.pipe()
        control_end, self._control = os.pipe()
        os.set_blocking(self._control, False)
        self._buffer = b""
        self._at_end = False
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", "ecgconsole.jobs.engine", stage.name]
        command += [stage.target, *map(str, (os.getpid(), control_end, events_end))]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._early,
                stderr=self._early,
                env={**os.environ, MARKER_VARIABLE: marker},
                pass_fds=(control_end, events_end),
                start_new_session=True,
            )
        except OSError:
            os.close(self._events)
            os.close(self._control)
            self._early.close()
            raise
        finally:
            os.close(control_end)
            os.close(events_end)

    def begin(self, workspace: Workspace, run: RunFolder, options: Mapping[str, Any]) -> None:
        self._log = run.engine_log
        self._send({"folder": str(workspace.folder), "run": run.run_id, "options": dict(options)})

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it. None: it lives."""
        return self._process.poll()

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """Messages that have come, after waiting for at most ``seconds``; [] when there are none."""
        if self._at_end:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(min(seconds, 0.02))
            return []
        while select.select([self._events], [], [], seconds)[0]:
            data = os.read(self._events, 1 << 16)
            if not data:
                self._at_end = True
                break
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            if lines:
                return [json.loads(line) for line in lines]
        return []

    def tell(self, action: str) -> None:
        self._send({"action": action})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            os.write(self._control, json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, BlockingIOError):
            return  # it has ended, or hears nothing any more: the ladder sees to that

    def terminate(self) -> None:
        """The engine is told by its pipe: SIGTERM, which may come from anyone, is a staged stop to it."""
        terminate_session(self.marker, self.pid)
        self.tell("terminate")

    def end(self) -> list[int]:
        """Kills whatever is left of it and all it started; returns pids that would not die. A second time: nothing."""
        if self._has_ended:
            return []
        self._has_ended = True
        survivors = kill_marked(self.marker)
        self._process.wait()
        reap_orphans(keep=())
        os.close(self._events)
        os.close(self._control)
        # How it ended is known without its last words, too.
        with self._early, suppress(OSError):
            self._early.seek(0)
            if (text := self._early.read()) and self._log is not None:
                with self._log.open("ab") as log:
                    log.write(text)
        return survivors

    def death(self) -> str:
        """How it ended, when it said nothing itself."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"ended with exit code {code} and without a word"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hints = {
            "SIGKILL": "killed by SIGKILL, as the system does when memory runs out",
            "SIGSEGV": "crashed (SIGSEGV: a fault in compiled code)",
            "SIGBUS": "crashed (SIGBUS: a mapped file that was cut, or a full disk)",
        }
        return hints.get(name, f"ended by {name}")


class Ladder:
    """A staged stop: request, then terminate the engine's session, then SIGKILL to all of ours."""

    def __init__(self, config: Config) -> None:
        # torchrun gives its own workers 30 s between SIGTERM and SIGKILL.
        terminate_s = max(config.job.terminate_seconds, 35.0 if config.training.world_size > 1 else 0.0)
        self._waits = {"request": config.job.stop_seconds, "terminate": terminate_s, "kill": float("inf")}
        self.rung: str | None = None
        self._deadline = float("inf")

    def climb(self, rung: str, engine: EngineProcess) -> None:
        """Goes up to a rung; going down is not possible."""
        if self.rung is not None and RUNGS.index(rung) <= RUNGS.index(self.rung):
            return
        self.rung = rung
        self._deadline = time.monotonic() + self._waits[rung]
        if rung == "request":
            engine.tell("stop")
        elif rung == "terminate":
            engine.terminate()

    def advance(self, engine: EngineProcess) -> bool:
        """Climbs when the time of a rung is over; True when the engine is to be killed."""
        if self.rung is not None and self.rung != "kill" and time.monotonic() > self._deadline:
            self.climb(RUNGS[RUNGS.index(self.rung) + 1], engine)
        return self.rung == "kill"
