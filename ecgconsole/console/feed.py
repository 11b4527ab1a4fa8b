"""Reading what a job writes: a thread that polls files and posts what is new. It owns no process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgconsole.console.sources.metrics import Columns, MetricReader
from ecgconsole.jobs.done import read_records
from ecgconsole.jobs.events import EventReader
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.jobs.state import read_run
from ecgconsole.workspace import Workspace

POLL_SECONDS = 0.5
READINGS_KEPT = 120


@dataclass(frozen=True)
class Update:
    """What was read at one time: the last run's snapshot and gauges, and what was not seen before: events, and all
    metrics as columns by name. A training has hundreds of thousands of metrics and progress events: of these only
    validations and a build's progress are among ``events``.

    ``first`` marks the events of a run that begins here.
    """

    snapshot: Snapshot | None
    events: tuple[dict[str, Any], ...] = ()
    metrics: Mapping[str, Columns] = field(default_factory=dict)
    first: bool = False
    readings: tuple[dict[str, Any], ...] = ()
    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Feed(threading.Thread):
    """Calls ``post`` with an ``Update`` when anything is new, at most twice a second."""

    def __init__(self, workspace: Workspace, post: Callable[[Update], None]) -> None:
        super().__init__(name="feed", daemon=True)
        self._workspace = workspace
        self._post = post
        self._ended = threading.Event()
        self._runs_read: set[str] = set()
        self._events: MetricReader | None = None
        self._gauges: EventReader | None = None
        self._readings: deque[dict[str, Any]] = deque(maxlen=READINGS_KEPT)

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        last: Update | None = None
        while True:
            for update in self.read():
                if last is None or update.events or update.metrics or _shown(update) != _shown(last):
                    self._post(update)
                    last = update
            if self._ended.wait(POLL_SECONDS):
                return

    def read(self) -> list[Update]:
        """One round. Runs that the console has not seen come whole and in order."""
        updates: list[Update] = []
        ids = self._workspace.run_ids()
        for run_id in ids:
            if run_id in self._runs_read:
                continue
            self._runs_read.add(run_id)
            run = self._workspace.run(run_id)
            self._events, self._gauges = MetricReader(run.events, with_events=True), EventReader(run.gauges)
            self._readings.clear()
            updates += self._batches(run_id, first=True)
        if not updates:
            updates = self._batches(ids[-1] if ids else None, first=False)
        return updates

    def _batches(self, run_id: str | None, first: bool) -> list[Update]:
        if run_id is None or self._events is None or self._gauges is None:
            return [Update(None, done=read_records(self._workspace))]
        while batch := self._gauges.read_new():
            self._readings.extend(batch)
        # The state after what the events say, or later.
        metrics, events = self._events.take_new(), tuple(self._events.take_events())
        snapshot, done = read_run(self._workspace.run(run_id)), read_records(self._workspace)
        return [Update(snapshot, events, metrics, first, tuple(self._readings), done)]


def _shown(update: Update) -> tuple[Any, ...]:
    """What would change the screen: not the heartbeat."""
    snapshot = update.snapshot
    known = None
    if snapshot is not None:
        known = (snapshot.run_id, snapshot.status, snapshot.stages, snapshot.warning_count, snapshot.message)
    return known, update.readings[-1:], len(update.done)
