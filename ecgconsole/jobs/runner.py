"""A run: stage after stage, each in an engine; events, state, control and a staged stop around them.

``ecgconsole run --no-tui`` is this process. It does no science and draws nothing, so it can always
answer: what runs is asked of its files, and told through its files or by signals.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ecgconsole
from ecgconsole.config import Config
from ecgconsole.errors import EcgConsoleError, ExitCode, FolderBusy, MachineError, Stopped
from ecgconsole.jobs.done import inputs_of, read_records, record_done, why_not_done
from ecgconsole.jobs.engine_process import EngineProcess, Ladder
from ecgconsole.jobs.events import EventReader, EventWriter
from ecgconsole.jobs.gauges import Gauges
from ecgconsole.jobs.hook import HOOK_SECONDS, call_hook
from ecgconsole.jobs.lock import FolderLock
from ecgconsole.jobs.log import ProductionLog
from ecgconsole.jobs.processes import adopt_orphans, host_name, kill_marked, new_marker, this_process
from ecgconsole.jobs.rules import Finding, Rules
from ecgconsole.jobs.snapshot import Snapshot, fold
from ecgconsole.jobs.state import write_state
from ecgconsole.jobs.steer import ACTIONS
from ecgconsole.stage import STAGES, Stage
from ecgconsole.workspace import RunFolder, Workspace, sweep_partial, write_atomically

POLL_SECONDS = 0.5
STATE_SECONDS = 2.0
_GPU_STAGES = ("train", "embed")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGTTOU)  # a closed terminal; writing to it from the background
_BOUNDARIES = ("run_started", "stage_started", "stage_finished", "checkpoint", "run_finished")
_RUNG_TEXTS = {
    "terminate": "it did not end in time and was terminated; what was committed before is kept",
    "kill": "it did not end in time and was killed; what was committed before is kept",
}


@dataclass(frozen=True)
class Job:
    """What to run: ``options`` are keyword arguments of stages by stage name; any makes the stage run."""

    workspace: Workspace
    config: Config
    stages: tuple[Stage, ...]
    options: Mapping[str, Mapping[str, Any]]
    argv: tuple[str, ...]
    pipeline: tuple[Stage, ...] = STAGES


@dataclass(frozen=True)
class Outcome:
    """How a run or a stage ended: status is done, failed or stopped."""

    status: str
    exit_code: int
    message: str | None = None
    stopped_by: str | None = None


def run_job(job: Job, on_start: Callable[[RunFolder], None], first: EngineProcess | None = None) -> Outcome:
    """Runs the job to its end; ``on_start`` gets the run's folder before its first event. ``first``: an engine of the
    first stage, started while the job was put together; whoever did ends it where this raises.

    Raises ``FolderBusy``, or ``MachineError`` when the run cannot even be written down.
    """
    adopt_orphans()
    marker = first.marker if first is not None else new_marker()
    lock = FolderLock(job.workspace.lock, list(job.argv), marker)
    try:
        run = job.workspace.new_run()
        lock.name_run(run.run_id)
        sweep_partial(job.workspace.folder)
        write_atomically(run.config, job.config.to_json())
        write_atomically(job.workspace.config, job.config.to_json())
        runner = _Runner(job, run, lock, marker, first)
        _note_signals(runner.stop_signals)
        on_start(run)
        return runner.run()
    except OSError as error:
        raise MachineError(f"{error.filename or job.workspace.folder}: {error.strerror}") from error
    finally:
        lock.release()


def _note_signals(received: list[int]) -> None:
    """From now until this process ends, stop signals are noted in the list, and acted upon in its own time."""
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda number, _: received.append(number))
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class _Runner:
    def __init__(self, job: Job, run: RunFolder, lock: FolderLock, marker: str, first: EngineProcess | None) -> None:
        self._job, self._run, self._lock, self._marker, self._first = job, run, lock, marker, first
        self.stop_signals: list[int] = []
        self._signals_seen = 0
        self._stop: str | None = None  # None, "stop" or "stop-now"
        self._stopped_by: str | None = None
        self._paused = False
        self._events = EventWriter(run.events)
        self._log = ProductionLog(job.workspace.log, run.run_id)
        self._control = EventReader(run.control)
        self._gauges = Gauges(run.gauges, job.workspace.folder, job.config.job.gauge_seconds)
        self._snapshot = Snapshot(run_id=run.run_id)
        self._polled = self._state_written = 0.0
        self._state_due = False
        self._rules = Rules(job.config.job.silence_seconds, False, time.monotonic())
        self._gauges_seen: dict[str, Any] | None = None
        self._last_call: threading.Thread | None = None
        self._process = this_process()
        self._facts = {
            "argv": list(job.argv),
            "version": ecgconsole.__version__,
            "config_sha256": hashlib.sha256(job.config.to_json().encode()).hexdigest(),
        }

    def run(self) -> Outcome:
        started = time.monotonic()
        guard = subprocess.Popen(
            [sys.executable, "-P", "-m", "ecgconsole.jobs.guard", self._marker],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._gauges.start()
            outcome = self._perform(started)
        finally:
            if not kill_marked(self._marker):
                guard.kill()  # nothing is left to guard
            self._gauges.stop()
            guard.communicate()
        self._log.close()
        self._events.close()
        if self._last_call is not None:
            self._last_call.join(HOOK_SECONDS)
        return outcome

    def _perform(self, started: float) -> Outcome:
        try:
            self._emit(
                "run_started",
                run_id=self._run.run_id,
                stages=[s.name for s in self._job.stages],
                pid=self._process.pid,
                host=host_name(),
                version=self._facts["version"],
                config_sha256=self._facts["config_sha256"],
            )
            outcome = self._stages()
        except EcgConsoleError as error:  # our own files cannot be written
            outcome = Outcome("failed", error.exit_code, str(error))
        finish: dict[str, Any] = {
            "run_id": self._run.run_id,
            "status": outcome.status,
            "exit_code": outcome.exit_code,
            "message": outcome.message,
            "stopped_by": outcome.stopped_by,
            "seconds": round(time.monotonic() - started, 3),
        }
        try:
            self._emit("run_finished", **finish)
        except MachineError:
            # The disk is full: the state, rewritten in place of a file of its size, may still fit.
            finish["time"] = None
            self._snapshot = fold(self._snapshot, {"kind": "run_finished", "seq": self._snapshot.next_seq, **finish})
        self._write_state()
        return outcome

    def _stages(self) -> Outcome:
        for stage in self._job.stages:
            try:
                outcome = self._stage(stage)
            except Stopped as stopped:
                return Outcome("stopped", ExitCode.STOPPED, str(stopped), self._stopped_by or "request")
            except OSError as error:
                return Outcome("failed", ExitCode.MACHINE, f"{error.filename}: {error.strerror}")
            if outcome.status != "done":
                return outcome
        return Outcome("done", ExitCode.DONE)

    def _stage(self, stage: Stage) -> Outcome:
        """Runs a stage, or skips it. Raises ``Stopped`` when asked to stop before it began."""
        job = self._job
        options = job.options.get(stage.name, {})

        def check() -> None:
            self._tick()
            if self._lock.lost.is_set():
                raise FolderBusy(f"another job has taken {job.workspace.folder}")
            if self._stop:
                raise Stopped(f"stopped on request before {stage.name}; the same command continues there")

        check()
        inputs = inputs_of(stage, job.config, job.workspace, options, job.pipeline, check)
        why = ", ".join(f"--{k}" for k in options) or why_not_done(stage, inputs, job.workspace)
        if why is None:
            self._end_first()
            self._emit(
                "stage_skipped",
                stage.name,
                status="skipped",
                reason="already done, and nothing that it depends on has changed",
                seconds=0.0,
                result=read_records(job.workspace)[stage.name]["result"],
            )
            return Outcome("done", ExitCode.DONE)
        started = time.monotonic()
        self._emit("stage_started", stage.name, status="running", why=why)
        result: dict[str, Any] = {}
        try:
            outcome, result = self._run_engine(stage, options)
            if outcome.status == "done":
                record_done(stage, inputs, job.workspace, result, self._run.run_id)
        except OSError as error:  # no process can be started, no file written
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            outcome = Outcome("failed", ExitCode.MACHINE, f"stage {stage.name}: {what}")
        self._emit(
            "stage_finished",
            stage.name,
            status=outcome.status,
            seconds=round(time.monotonic() - started, 3),
            result=result,
            exit_code=outcome.exit_code,
            message=outcome.message,
        )
        return outcome

    def _run_engine(self, stage: Stage, options: Mapping[str, Any]) -> tuple[Outcome, dict[str, Any]]:
        job = self._job.config.job
        on_gpu = stage.name in _GPU_STAGES and self._job.config.training.device != "cpu"
        self._rules = Rules(job.silence_seconds, on_gpu, time.monotonic())
        if self._first is not None and self._first.stage == stage:
            engine, self._first = self._first, None
        else:
            self._end_first()
            engine = EngineProcess(stage, self._marker)
        engine.begin(self._job.workspace, self._run, options)
        ladder = Ladder(self._job.config)
        last: dict[str, Any] = {}  # its own last word: a result or an error
        last_at = 0.0
        try:
            if self._paused:
                engine.tell("pause")
            while True:
                # Whether it has ended is asked before its pipe is read, so nothing it wrote is missed.
                ended = engine.exit_code is not None
                messages = engine.hear(0.0 if ended else 0.1)
                for message in messages:
                    if word := self._take(message):
                        last, last_at = word, time.monotonic()
                self._tick(engine, ladder)
                self._watch(stage.name)
                lingers = bool(last) and time.monotonic() - last_at > job.terminate_seconds
                if (ended and not messages) or lingers or ladder.advance(engine):
                    break
        finally:
            survivors = engine.end()
        if survivors:
            self._emit(
                "warning",
                stage.name,
                code="processes-left",
                message=f"processes that could not be killed: {', '.join(map(str, survivors))}",
                hint="they are blocked in the system, usually on a disk that does not answer",
            )
        self._stopped_by = ladder.rung if self._stop else None
        return self._outcome(stage, engine, last), last.get("result", {})

    def _end_first(self) -> None:
        """Ends the engine that was started before anyone knew whether there is work for it."""
        if self._first is not None:
            self._first.end()
            self._first = None

    def _outcome(self, stage: Stage, engine: EngineProcess, last: dict[str, Any]) -> Outcome:
        if "result" in last:
            return Outcome("done", ExitCode.DONE)
        if self._lock.lost.is_set():
            return Outcome("failed", ExitCode.BUSY, f"another job has taken {self._job.workspace.folder}")
        message = last.get("error") or f"stage {stage.name} {engine.death()}; see {self._run.engine_log}"
        code = int(last.get("exit_code", ExitCode.STAGE_FAILED))
        if code == ExitCode.STOPPED:
            return Outcome("stopped", code, message, self._stopped_by)
        if "error" not in last and self._stopped_by in ("terminate", "kill"):
            again = "with --resume auto " if "resume" in self._job.options.get(stage.name, {}) else ""
            text = f"stopped on request: {_RUNG_TEXTS[self._stopped_by]}. The same command {again}continues."
            return Outcome("stopped", ExitCode.STOPPED, text, self._stopped_by)
        return Outcome("failed", code, message)

    def _take(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Writes an engine's event down; its last word is returned instead."""
        event = message.get("event")
        if event is None:
            return message
        if event["kind"] == "stage_result":
            return {"result": event["result"]}
        self._emit(**event)
        self._warn(event["stage"], self._rules.on_event(event, time.monotonic()))
        return None

    def _watch(self, stage: str) -> None:
        """The rules that need no event."""
        now = time.monotonic()
        if self._gauges.latest is not self._gauges_seen:
            self._gauges_seen = self._gauges.latest
            self._warn(stage, self._rules.on_gauges(self._gauges_seen or {}, now, self._paused))
        self._warn(stage, self._rules.on_time(now, self._paused))

    def _warn(self, stage: str, findings: list[Finding]) -> None:
        for finding in findings:
            self._emit("warning", stage, code=finding.code, message=finding.message, hint=finding.hint)

    def _tick(self, engine: EngineProcess | None = None, ladder: Ladder | None = None) -> None:
        """What is due between events: signals, commands from the file, the state file."""
        while self._signals_seen < len(self.stop_signals):
            name = signal.Signals(self.stop_signals[self._signals_seen]).name
            self._signals_seen += 1
            self._obey("stop" if self._signals_seen == 1 else "stop-now", name, engine)
        now = time.monotonic()
        if now - self._polled > POLL_SECONDS:
            self._polled = now
            for command in self._commands():
                if command.get("action") in ACTIONS:
                    self._obey(command["action"], f"process {command.get('pid')} on {command.get('host')}", engine)
        if self._lock.lost.is_set():
            self._stop = "stop-now"
        if self._stop and engine and ladder:
            ladder.climb("request" if self._stop == "stop" else "terminate", engine)
        age = now - self._state_written
        if age > STATE_SECONDS or (self._state_due and age > POLL_SECONDS):
            self._write_state()

    def _commands(self) -> list[dict[str, Any]]:
        try:
            return self._control.read_new()
        except OSError:
            return []  # a disk that does not answer: the next poll asks again

    def _obey(self, action: str, by: str, engine: EngineProcess | None) -> None:
        stage = self._snapshot.stage.name if engine and self._snapshot.stage else None
        self._emit("control", stage, action=action, by=by)
        if action.startswith("stop"):
            self._stop = "stop-now" if self._stop == "stop-now" else action
        elif action in ("pause", "resume"):
            self._paused = action == "pause"
        if engine and action in ("pause", "resume", "checkpoint"):
            engine.tell(action)

    def _emit(self, kind: str, stage: str | None = None, **fields: Any) -> None:
        """Writes one event. Raises ``MachineError`` when the disk takes no more."""
        try:
            event = self._events.write({"kind": kind, "stage": stage, **fields})
            if kind in _BOUNDARIES:
                self._events.sync()
        except OSError as error:
            raise MachineError(f"cannot write {self._run.events}: {error.strerror}") from error
        self._snapshot = fold(self._snapshot, event)
        if kind in ("warning", "run_finished") and self._job.config.job.warning_command:
            self._last_call = call_hook(self._job.config.job.warning_command, event)
        self._state_due = self._state_due or kind != "progress"
        try:
            self._log.write(event)
        except OSError:
            return  # the events hold the same, and tell when the disk is full

    def _write_state(self) -> None:
        self._state_written, self._state_due = time.monotonic(), False
        try:
            snapshot = replace(self._snapshot, gauges=self._gauges.latest)
            write_state(self._run.state, self._process, self._facts, snapshot)
        except OSError:
            return  # the next one tries again; readers can fold the events


def stages_named(names: Sequence[str], pipeline: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """In the pipeline's order, whatever the order of the names."""
    return tuple(s for s in pipeline if s.name in names)
