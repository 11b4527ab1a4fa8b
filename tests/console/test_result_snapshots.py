"""Data, findings, logs and runs as they look, at three sizes, on one built cohort and a clock that stands still.

After a change that was meant: ``pytest tests/console/test_result_snapshots.py --snapshot-update``, and look.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from textual.pilot import Pilot

from ecgconsole.console.app import Console
from ecgconsole.console.chart import Chart
from ecgconsole.jobs import events as events_module
from ecgconsole.workspace import Workspace
from tests.console import results
from tests.console.harness import SNAPSHOT_SIZES, FakeJob, has_braille, text, until

NOW = datetime(2026, 11, 24, 13, 31, tzinfo=UTC)
at_every_size = pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")


@pytest.fixture
def found(own_folder):
    for add in (results.add_embeddings, results.add_patterns, results.add_validation, results.add_stroke):
        add(own_folder)
    return own_folder


def console(workspace: Workspace) -> Console:
    return Console(workspace, now=lambda: NOW)


async def drawn(pilot: Pilot, chart: str) -> None:
    await until(pilot, lambda: bool(pilot.app.query(chart)) and has_braille(pilot.app.query_one(chart, Chart)))
    await pilot.pause(0.7)


@at_every_size
def test_data_with_a_waveform(found, snap_compare, size):
    async def ready(pilot):
        await pilot.press("5")
        await until(pilot, lambda: "P-" in text(pilot))
        await pilot.press("enter")
        await drawn(pilot, "#ecg")

    assert snap_compare(console(found), terminal_size=size, run_before=ready)


@at_every_size
def test_findings_with_a_medoid(found, snap_compare, size):
    async def ready(pilot):
        await pilot.press("6")
        await drawn(pilot, "#ecg")

    assert snap_compare(console(found), terminal_size=size, run_before=ready)


@at_every_size
def test_findings_as_a_map(found, snap_compare, size):
    async def ready(pilot):
        await pilot.press("6")
        await until(pilot, lambda: "✔ pattern" in text(pilot))
        await pilot.press("c")
        await drawn(pilot, "#map")

    assert snap_compare(console(found), terminal_size=size, run_before=ready)


@at_every_size
def test_logs_with_a_search(tmp_path, snap_compare, size):
    workspace = Workspace(tmp_path / "out")
    workspace.folder.mkdir()
    levels = ("INFO ", "INFO ", "WARN ", "INFO ", "ERROR")
    rows = (f"2026-11-24T13:{i // 60:02d}:{i % 60:02d}Z {levels[i % 5]} train run=0001 step {i}" for i in range(300))
    workspace.log.write_text("".join(f"{row}, something that happened\n" for row in rows))

    async def ready(pilot):
        await pilot.press("7")
        await until(pilot, lambda: "step 299" in text(pilot))
        await pilot.press("slash", *"step 25[05]", "enter")
        await until(pilot, lambda: "not following" in text(pilot) and "step 299" not in text(pilot))
        await pilot.pause(0.7)

    assert snap_compare(console(workspace), terminal_size=size, run_before=ready)


@at_every_size
def test_runs_over_one_another(tmp_path, snap_compare, size, monkeypatch):
    clock = [NOW - timedelta(hours=3)]

    def tick() -> str:
        clock[0] += timedelta(seconds=2)
        return clock[0].isoformat(timespec="milliseconds").replace("+00:00", "Z")

    monkeypatch.setattr(events_module, "utc_now", tick)
    for pace in (30.0, 50.0):
        job = FakeJob(tmp_path / "out")
        job.emit("stage_started", "train", status="running")
        for step in range(1, 241):
            loss = 1.2 + 4 / (1 + step / pace) + 0.1 * (step * 7919 % 13) / 13
            job.emit("metric", "train", step=step, epoch=1 + step // 40, values={"train_loss": loss})
        job.emit("stage_finished", "train", status="done", seconds=480.0, result={"epochs": 6, "val_loss": 1.9})
        job.emit("run_finished", status="done", exit_code=0, seconds=500.0)

    async def ready(pilot):
        await pilot.press("8")
        await until(pilot, lambda: "240 of 240 points" in text(pilot))
        await pilot.press("down", "space", "w", "w")
        await until(pilot, lambda: "2 run 1" in text(pilot))
        await pilot.pause(0.7)

    assert snap_compare(console(job.workspace), terminal_size=size, run_before=ready)
