"""The runs of one or more output folders, as rows; their metrics come from ``sources.metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ecgconsole.jobs.snapshot import LIVE, Snapshot, elapsed_seconds
from ecgconsole.jobs.state import read_run
from ecgconsole.workspace import Workspace


@dataclass(frozen=True)
class Run:
    """One run of a folder. ``stamp`` changes when its state was written anew."""

    workspace: Workspace
    run_id: str
    snapshot: Snapshot
    stamp: tuple[int, int]

    @property
    def key(self) -> tuple[str, str]:
        return str(self.workspace.folder), self.run_id

    @property
    def seconds(self) -> float:
        """How long it ran, or has run so far; NaN where it never began."""
        s = self.snapshot
        ended = None if s.status in LIVE else s.finished or s.heartbeat
        seconds = elapsed_seconds(s.started, ended) if s.started else None
        return float("nan") if seconds is None else seconds

    def result(self, stage: str, name: str) -> Any:
        """A field of a stage's result; None where there is none."""
        return next((s.result.get(name) for s in self.snapshot.stages if s.name == stage), None)

    @property
    def metric(self) -> Mapping[str, Any]:
        return (self.snapshot.metric or {}).get("values") or {}


def list_runs(workspaces: Iterable[Workspace], known: Mapping[tuple[str, str], Run]) -> list[Run]:
    """All runs, the last of each folder first. What did not change since ``known`` is not read again."""
    found = []
    for workspace in workspaces:
        for run_id in reversed(workspace.run_ids()):
            folder = workspace.run(run_id)
            try:
                stat = folder.state.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
            except FileNotFoundError:
                stamp = (0, 0)
            before = known.get((str(workspace.folder), run_id))
            # A run that lives may be lost without writing a word.
            if before is not None and before.stamp == stamp and before.snapshot.status not in (*LIVE, "starting"):
                found.append(before)
            else:
                found.append(Run(workspace, run_id, read_run(folder), stamp))
    return found
