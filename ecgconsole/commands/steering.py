"""Looking at a job and steering it from outside: ``status``, ``stop``, ``pause``, ``attach`` and their like."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ecgconsole.commands.options import FolderOption, JsonOption, say, say_json, workspace_of
from ecgconsole.commands.running import open_console
from ecgconsole.errors import EcgConsoleError, MachineError
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace

NowOption = Annotated[bool, typer.Option("--now", help="terminate at once, without finishing the unit in hand")]
ReadOnlyOption = Annotated[bool, typer.Option("--read-only", help="look, but steer nothing")]


def status(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """What runs or ran there: stage, progress, rate, time left, last metrics, last warning."""
    from ecgconsole.jobs.snapshot import Snapshot
    from ecgconsole.jobs.state import read_snapshot
    from ecgconsole.jobs.summary import summary_lines

    workspace = workspace_of(folder, must_exist=True)
    snapshot = read_snapshot(workspace)
    if as_json:
        say_json((snapshot or Snapshot(status="none")).to_json())
    elif snapshot is None:
        say(f"no job has run in {workspace.folder}")
    else:
        for line in summary_lines(snapshot):
            say(line)


def stop(folder: FolderOption = None, now: NowOption = False) -> None:
    """Stops the job: the unit in hand is finished and saved; a job that does not end is terminated, then killed.

    Waits for the end and says which of these happened. The same run command continues from there.
    """
    from ecgconsole.config import load
    from ecgconsole.jobs.state import read_snapshot
    from ecgconsole.jobs.steer import request

    workspace = workspace_of(folder, must_exist=True)
    before = read_snapshot(workspace)
    if before is None or not before.alive:
        say(f"no job runs in {workspace.folder}" + (f": run {before.run_id} is {before.status}" if before else ""))
        return
    before = request(workspace, "stop-now" if now else "stop")
    job = load(workspace.run(before.run_id).config).job
    patience_s = job.stop_seconds + job.terminate_seconds + 30
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        after = read_snapshot(workspace, before.run_id)
        if after is not None and not after.alive:
            how = {"request": "finished and saved", "terminate": "terminated", "kill": "killed"}
            what = f" ({how[after.stopped_by]})" if after.stopped_by in how else ""
            message = f": {sanitise(after.message)}" if after.message else ""
            say(f"run {after.run_id} {after.status}{what}{message}")
            return
        time.sleep(0.2)
    raise MachineError(f"run {before.run_id} has not ended within {patience_s:.0f} s; see ecgconsole status")


def pause(folder: FolderOption = None) -> None:
    """Pauses the job at the next unit's boundary."""
    _ask(folder, "pause", "pauses after the unit in hand")


def resume(folder: FolderOption = None) -> None:
    """Lets a paused job go on."""
    _ask(folder, "resume", "goes on")


def checkpoint_now(folder: FolderOption = None) -> None:
    """Makes a training write a checkpoint at the next step."""
    _ask(folder, "checkpoint", "writes a checkpoint at its next step")


def attach(folder: FolderOption = None, read_only: ReadOnlyOption = False) -> None:
    """The console on a running job, from another terminal or another machine that sees the folder."""
    open_console(workspace_of(folder, must_exist=True), read_only)


def _ask(folder: FolderOption, action: str, effect: str) -> None:
    """Asks, and waits until the job has heard it."""
    from ecgconsole.jobs.steer import request

    workspace = workspace_of(folder, must_exist=True)
    before = request(workspace, action)
    if not _heard(workspace, before.run_id, before.next_seq, action):
        raise EcgConsoleError(f"run {before.run_id} has not answered within 10 s; see ecgconsole status")
    say(f"run {before.run_id} {effect}")


def _heard(workspace: Workspace, run_id: str, seq: int, action: str) -> bool:
    from ecgconsole.jobs.events import EventReader

    reader = EventReader(workspace.run(run_id).events)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for event in reader.read_new():
            if event.get("kind") == "control" and event.get("action") == action and event.get("seq", -1) >= seq:
                return True
        time.sleep(0.1)
    return False
