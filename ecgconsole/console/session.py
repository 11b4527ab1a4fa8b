"""What the console knows of its folder: one object that all screens read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ecgconsole.config import Config, load
from ecgconsole.console.away import Away
from ecgconsole.console.building import Building
from ecgconsole.console.feed import Update
from ecgconsole.console.history import MetricHistory
from ecgconsole.console.ladder import Stopping, stopping
from ecgconsole.errors import ConfigurationError
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.workspace import Workspace

EVENTS_KEPT = 200
Clock = Callable[[], datetime]


def utc_clock() -> datetime:
    return datetime.now(UTC)


class Session:
    """Grows by updates, in the event loop alone. Holds nothing that a screen owns."""

    def __init__(
        self, workspace: Workspace, read_only: bool = False, seen: str | None = None, now: Clock = utc_clock
    ) -> None:
        """``seen`` is when this folder was last looked at, UTC ISO 8601."""
        self.workspace = workspace
        self.read_only = read_only
        self.now = now
        self.update = Update(None)
        self.history = MetricHistory()
        self.building = Building()
        self.away = Away(seen, now())
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.config: Config | None = None

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
        self.history.add(update.metrics)
        for event in update.events:
            self.away.add(event)
            self.building.add(event)
            if event.get("kind") not in ("progress", "metric", "chunk"):
                self.events.append(event)
        if update.first or self.config is None:
            self.config = _config_of(self.workspace, update.snapshot)
        self.update = update

    def stopping(self) -> Stopping | None:
        """Where a stop of the running job stands."""
        return stopping(self.events, self.config.job, self.now()) if self.alive and self.config else None


def _config_of(workspace: Workspace, snapshot: Snapshot | None) -> Config | None:
    """The last run's own parameters; None when they are not known."""
    if snapshot is None or not workspace.run(snapshot.run_id).config.is_file():
        return None
    try:
        return load(workspace.run(snapshot.run_id).config)
    except ConfigurationError:  # of another version: its job runs, its parameters are not known
        return None
