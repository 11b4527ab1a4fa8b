"""A run's files as a runner writes them, and what a pilot sees of a console on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from ecgconsole.console.chart import Chart
from ecgconsole.console.rows import Rows
from ecgconsole.jobs.events import EventWriter
from ecgconsole.jobs.processes import this_process
from ecgconsole.jobs.snapshot import Snapshot, fold
from ecgconsole.jobs.state import write_state
from ecgconsole.workspace import Workspace

SIZES = [(50, 20), (80, 24), (120, 40), (200, 60)]
SNAPSHOT_SIZES = [(80, 24), (120, 40), (200, 60)]


class FakeJob:
    """A run's files, written as a runner writes them; its process is this one, so it lives."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)
        self.run = self.workspace.new_run()
        self.writer = EventWriter(self.run.events)
        self.gauges = EventWriter(self.run.gauges)
        self.snapshot = Snapshot(run_id=self.run.run_id)
        self.emit("run_started", run_id=self.run.run_id, stages=["build", "train", "embed"], pid=1, host="here")

    def emit(self, kind: str, stage: str | None = None, **fields: object) -> None:
        self.snapshot = fold(self.snapshot, self.writer.write({"kind": kind, "stage": stage, **fields}))
        write_state(self.run.state, this_process(), {}, self.snapshot)

    def requests(self) -> list[str]:
        if not self.run.control.exists():
            return []
        return [json.loads(line)["action"] for line in self.run.control.read_text().splitlines() if line]


def train_a_little(job: FakeJob) -> None:
    job.emit("stage_started", "build", status="running")
    job.emit("stage_finished", "build", status="done", seconds=61.0, result={"patients": 30, "segments": 1412})
    job.emit("stage_started", "train", status="running")
    job.emit("progress", "train", done=120, total=500, unit="steps", rate=10.0, remaining_seconds=38.0)
    for step in range(1, 121):
        job.emit("metric", "train", step=step, epoch=1, values={"train_loss": 5.0 - step / 40})
    job.emit("metric", "train", step=120, epoch=1, values={"val_loss": 1.842, "learning_rate": 3e-4})


def text(pilot: Pilot) -> str:
    rows = []
    for widget in pilot.app.query(Rows):
        rows += [widget.render_line(y).text for y in range(widget.size.height)]
    return "\n".join(rows)


def has_braille(chart: Chart) -> bool:
    rows = [chart.render_line(y).text for y in range(chart.size.height)]
    return any("\u2801" <= c <= "\u28ff" for c in "".join(rows))


async def until(pilot: Pilot, condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError(f"never happened; the screen says:\n{text(pilot)}")
