"""What the console knows of its folder: one object that all screens read."""

from __future__ import annotations

from collections import deque
from typing import Any

from ecgconsole.console.feed import Update
from ecgconsole.console.history import MetricHistory
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.workspace import Workspace

EVENTS_KEPT = 200


class Session:
    """Grows by updates, in the event loop alone. Holds nothing that a screen owns."""

    def __init__(self, workspace: Workspace, read_only: bool = False) -> None:
        self.workspace = workspace
        self.read_only = read_only
        self.update = Update(None)
        self.history = MetricHistory()
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)

    @property
    def snapshot(self) -> Snapshot | None:
        return self.update.snapshot

    @property
    def alive(self) -> bool:
        """Whether a job runs here, as far as can be known."""
        return bool(self.snapshot and self.snapshot.alive)

    @property
    def paused(self) -> bool:
        return self.snapshot is not None and self.snapshot.status == "paused"

    def take(self, update: Update) -> None:
        if update.first:
            self.history.begin_run()
        self.history.add(update.events)
        self.events.extend(e for e in update.events if e.get("kind") not in ("progress", "metric"))
        self.update = update
