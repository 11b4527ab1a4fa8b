"""The screens as they look, at three sizes, with a clock that stands still.

After a change that was meant: ``pytest tests/console/test_snapshots.py --snapshot-update``, and look at the pictures.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ecgconsole.config import Config
from ecgconsole.console.app import Console
from ecgconsole.console.screens import checkpoints as checkpoints_screen
from ecgconsole.jobs import events as events_module
from tests.console.harness import SNAPSHOT_SIZES, FakeJob, text, until

NOW = datetime(2026, 11, 24, 13, 31, tzinfo=UTC)
REJECTED = {"missing-samples": 1670, "clipping": 385, "disconnected": 180, "noise": 90}


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A job in its twelfth epoch, in a folder with the same name on every machine."""
    clock = [NOW - timedelta(hours=3, minutes=12)]

    def tick() -> str:
        clock[0] += timedelta(seconds=5)
        return clock[0].isoformat(timespec="milliseconds").replace("+00:00", "Z")

    monkeypatch.setattr(events_module, "utc_now", tick)
    monkeypatch.chdir(tmp_path)
    job = FakeJob(Path("production_full"))
    job.run.config.write_text(Config().to_json())
    job.workspace.config.write_text(Config().to_json())
    job.emit("stage_started", "build", status="running")
    job.emit("progress", "build", done=0, total=480, unit="patients", rate=None, remaining_seconds=None)
    for number in range(1, 41):
        job.emit("chunk", "build", number=number, patients=8, segments=5100, rejected=REJECTED, bytes=11_000_000)
    job.emit("progress", "build", done=320, total=480, unit="patients", rate=0.9, remaining_seconds=178.0)
    return job


def finish_build(job: FakeJob) -> None:
    job.emit("stage_finished", "build", status="done", seconds=2460.0, result={"patients": 480, "segments": 304_000})
    job.emit("stage_started", "train", status="running")
    for step in range(1, 400):
        values = {"train_loss": 1.6 + 4 / (1 + step / 40), "learning_rate": 3e-4}
        job.emit("metric", "train", step=85 * step, epoch=1 + step // 33, values=values)
        if step % 33 == 0:
            job.emit(
                "metric", "train", step=85 * step, epoch=step // 33, values={"val_loss": 1.8 + 4 / (1 + step / 40)}
            )
    job.emit("warning", "train", code="loss-not-finite", message="3 steps skipped, segments 88213, 90412", hint="look")
    job.emit(
        "checkpoint", "train", path="/o/checkpoint_epoch_12.pth", epoch=12, step=34_020, val_loss=1.842, sha256="0"
    )
    job.emit("progress", "train", done=34_020, total=141_750, unit="steps", rate=36.0, remaining_seconds=7800.0)


def gauge(job: FakeJob, n: int) -> None:
    gpus = [{"index": i, "name": "a GPU", "utilisation_percent": 80 + (7 * n + i) % 20, "memory_used_bytes": 14.2e9,
             "memory_total_bytes": 24e9, "temperature_c": 71, "power_w": 318.0} for i in range(2)]  # fmt: skip
    job.gauges.write({"cpu_percent": 34.0 + n % 9, "io_wait_percent": 1.0, "ram_used_bytes": 21.4e9,
                      "ram_total_bytes": 64e9, "disk_free_bytes": 412_000_000_000,
                      "job_processes": 4, "job_rss_bytes": 2e9, "gpus": gpus,
                      "job_read_bytes": 45_000_000 * n, "job_written_bytes": 1_000_000 * n})  # fmt: skip


def checkpoints(epochs=(12, 10, 8, 6)):
    def one(epoch):
        kept = {12: "latest", 10: "best"}.get(epoch, "newest 5")
        problem = "/o/checkpoint_epoch_8.pth: damaged: sha256 differs" if epoch == 8 else None
        return {"path": f"/o/checkpoint_epoch_{epoch}.pth", "epoch": epoch, "step": 2835 * epoch,
                "val_loss": 2.2 - epoch / 30, "metrics": {"retrieval": 0.91},
                "sha256": str(epoch), "pinned": epoch == 6, "size_bytes": 49_000_000,
                "modified": (NOW - timedelta(minutes=38 * (12 - epoch) + 4)).timestamp(), "kept_because": kept,
                "problem": problem}  # fmt: skip

    return [one(epoch) for epoch in epochs]


def answer(arguments, tolerated=()):
    if arguments[1] == "list":
        return checkpoints()
    return {"differences": {"training.learning_rate": [3e-4, 1e-4]}}


def app_of(job: FakeJob) -> Console:
    return Console(job.workspace, now=lambda: NOW)


@pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_dashboard_of_a_training(running, snap_compare, size):
    finish_build(running)
    for n in range(40):
        gauge(running, n)

    async def ready(pilot):
        await until(pilot, lambda: "ends about 15:41" in text(pilot) and "GPU" in text(pilot))
        await pilot.pause(0.7)

    assert snap_compare(app_of(running), terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_dashboard_of_a_build(running, snap_compare, size):
    async def ready(pilot):
        await until(pilot, lambda: "clipping" in text(pilot) and "320 of 480" in text(pilot))
        await pilot.pause(0.7)

    assert snap_compare(app_of(running), terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_run_control_while_a_job_is_stopped(running, snap_compare, size):
    running.emit("control", "build", action="stop", by="process 7 on here")

    async def ready(pilot):
        await pilot.press("2")
        await until(pilot, lambda: "a job runs here" in text(pilot) and "kill" in text(pilot))
        await pilot.pause(0.7)

    assert snap_compare(app_of(running), terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_parameters_with_an_edit(running, snap_compare, size):
    async def ready(pilot):
        await pilot.press("3")
        await until(pilot, lambda: pilot.app.page.NAME == "parameters" and bool(pilot.app.page._values))
        pilot.app.page._take(pilot.app.page.draft.with_value("training.max_grad_norm", 0.5))
        await pilot.press("slash", *"clipped", "enter", "down")  # few rows, so that a new parameter changes no picture
        await pilot.pause(0.7)

    assert snap_compare(app_of(running), terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_checkpoints_with_a_damaged_one(running, snap_compare, size, monkeypatch):
    monkeypatch.setattr(checkpoints_screen, "command_json", answer)
    finish_build(running)

    async def ready(pilot):
        await pilot.press("4")
        await until(
            pilot,
            lambda: "training.learning_rate" in str(pilot.app.page.query("#checkpoint-differences").first()._spans),
        )
        await pilot.pause(0.7)

    assert snap_compare(app_of(running), terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", SNAPSHOT_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_welcome_on_a_first_start(snap_compare, size, monkeypatch):
    monkeypatch.chdir("/")
    assert snap_compare(Console(None), terminal_size=size)
