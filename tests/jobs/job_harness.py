"""Real processes with fake stages, and the certainty that none is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ecgconsole.jobs.events import EventReader
from ecgconsole.workspace import Workspace

HERE = Path(__file__).resolve().parent
PATIENCE_S = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def events_of(workspace: Workspace, run_id: str | None = None) -> list[dict[str, Any]]:
    ids = workspace.run_ids()
    return EventReader(workspace.run(run_id or ids[-1]).events).read_new() if ids else []


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [e["kind"] for e in events]


class Job:
    """A started ``fake_run.py``."""

    def __init__(self, workspace: Workspace, process: subprocess.Popen[str]) -> None:
        self.workspace = workspace
        self.process = process

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def seen(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Waits for an event, and returns it."""

        def find() -> dict[str, Any] | None:
            found = [e for e in events_of(self.workspace) if e["kind"] == kind]
            return next((e for e in found if all(e.get(k) == v for k, v in fields.items())), None)

        return wait_for(find, f"event {kind} {fields} in {self.workspace.folder}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "out")


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Callable[..., Job]]:
    """``start("json", "build,train", "job.stop_seconds=1", plan={...})``."""
    started: list[subprocess.Popen[str]] = []

    def launch(output: str, stages: str, *rest: str, plan: dict[str, Any] | None = None, **kwargs: Any) -> Job:
        workspace.folder.mkdir(exist_ok=True)
        if plan is not None:
            (workspace.folder / "plan.json").write_text(json.dumps(plan))
        defaults: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**os.environ, "PYTHONPATH": str(HERE), **kwargs.pop("env", {})}
        command = [sys.executable, str(HERE / "fake_run.py"), str(workspace.folder), output, stages, *rest]
        process = subprocess.Popen(command, text=True, env=environment, **{**defaults, **kwargs})
        started.append(process)
        return Job(workspace, process)

    yield launch
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def ours(workspace: Workspace) -> list[psutil.Process]:
    """Living processes whose command line or environment names this test's folder or marker."""
    marker = json.loads(workspace.lock.read_text() or "{}").get("marker") if workspace.lock.exists() else None
    found = []
    for process in psutil.process_iter(["environ", "cmdline", "status"]):
        if process.pid == os.getpid() or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        named = str(workspace.folder) in " ".join(process.info["cmdline"] or [])
        marked = marker is not None and (process.info["environ"] or {}).get("ECGCONSOLE_JOB") == marker
        guards = marker is not None and marker in (process.info["cmdline"] or [])
        if named or marked or guards:
            found.append(process)
    return found
