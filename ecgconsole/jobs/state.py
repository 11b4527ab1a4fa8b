"""``state.json`` of a run: who runs it and its folded events, for readers that come and go."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecgconsole.jobs.events import EventReader, utc_now
from ecgconsole.jobs.lock import STALE_SECONDS
from ecgconsole.jobs.processes import ProcessIdentity, is_alive
from ecgconsole.jobs.snapshot import LIVE, Snapshot, elapsed_seconds, fold
from ecgconsole.workspace import RunFolder, Workspace


def write_state(path: Path, process: ProcessIdentity, facts: dict[str, Any], snapshot: Snapshot) -> None:
    """Atomic, but without fsync: it is rewritten every two seconds and can be made again from the events."""
    state = {
        "process": process.to_json(),
        **facts,
        "heartbeat": utc_now(),
        "snapshot": snapshot.to_json(),
    }
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(state) + "\n")
    os.replace(temporary, path)


def read_snapshot(workspace: Workspace, run_id: str | None = None) -> Snapshot | None:
    """The state of a run, by default the last; None when there is none.

    A run that says it runs, but whose process is gone (or, from another host, silent for a minute), has
    status ``lost``.
    """
    ids = workspace.run_ids()
    run_id = run_id or (ids[-1] if ids else None)
    return None if run_id is None or run_id not in ids else read_run(workspace.run(run_id))


def read_run(run: RunFolder) -> Snapshot:
    """The state of one run. See ``read_snapshot``."""
    snapshot = _read_once(run)
    # Its last word may have come after its state was read, and before its process was looked for.
    return snapshot if snapshot.status != "lost" else _read_once(run)


def _read_once(run: RunFolder) -> Snapshot:
    try:
        state = json.loads(run.state.read_bytes())
        snapshot = Snapshot.from_json(state["snapshot"])
        process = ProcessIdentity.from_json(state["process"])
        heartbeat = str(state["heartbeat"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Not written yet, or torn by a crash of the machine: the events tell all but the process.
        snapshot, process = fold_file(run.events), None
        heartbeat = snapshot.heartbeat or _made(run)
    snapshot = replace(snapshot, run_id=run.run_id)
    if snapshot.status not in (*LIVE, "starting"):
        return replace(snapshot, alive=False)
    alive = is_alive(process) if process else None
    if alive is None:
        age = elapsed_seconds(heartbeat) if heartbeat else None
        alive = age is not None and age < STALE_SECONDS
    if alive:
        return replace(snapshot, alive=True, heartbeat=heartbeat)
    message = "its process is gone without a last word (killed, or the machine went down); the same command continues"
    return replace(snapshot, alive=False, status="lost", message=message, heartbeat=heartbeat or None)


def _made(run: RunFolder) -> str:
    """When the folder was made, which is the first that a run does; empty where there is none."""
    try:
        return datetime.fromtimestamp(run.folder.stat().st_mtime, UTC).isoformat()
    except OSError:
        return ""


def running_argv(workspace: Workspace) -> list[str] | None:
    """The command line of the job that runs there; None when none does."""
    snapshot = read_snapshot(workspace)
    if snapshot is None or not snapshot.alive:
        return None
    try:
        argv = json.loads(workspace.run(snapshot.run_id).state.read_bytes()).get("argv")
    except (OSError, ValueError, AttributeError):  # it runs, and has not written it yet
        return []
    return [str(part) for part in argv] if isinstance(argv, list) else []


def fold_file(events: Path) -> Snapshot:
    reader, snapshot = EventReader(events), Snapshot()
    while batch := reader.read_new():
        for event in batch:
            snapshot = fold(snapshot, event)
    return snapshot
