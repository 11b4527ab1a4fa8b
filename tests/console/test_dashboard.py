"""The dashboard: what a build commits and rejects, monitors, gauges of any machine, what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ecgconsole.console import memory
from ecgconsole.console.app import Console
from ecgconsole.console.away import Away
from ecgconsole.console.building import Building, histogram
from ecgconsole.console.chart import Chart
from ecgconsole.console.machine import NOTHING_RUNS, disk_text, machine, rate_of, what_limits
from ecgconsole.jobs.snapshot import Snapshot, StageSnapshot
from tests.console.harness import has_braille, text, train_a_little, until

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def gpu(index: int, use: float, **more: object) -> dict[str, object]:
    return {"index": index, "name": "a GPU", "utilisation_percent": use, "memory_used_bytes": 14.2e9,
            "memory_total_bytes": 24e9, "temperature_c": 71, "power_w": 318.0, "throttled": False, **more}  # fmt: skip


def reading(seconds: float, **fields: object) -> dict[str, object]:
    usual = {"cpu_percent": 34.0, "io_wait_percent": 1.0, "ram_used_bytes": 21e9, "ram_total_bytes": 64e9,
             "disk_free_bytes": 412_000_000_000, "job_processes": 4, "job_rss_bytes": 2e9, "gpus": []}  # fmt: skip
    return {"time": at(seconds), **usual, **fields}


def said(rows: object) -> str:
    return "\n".join("".join(span[0] for span in row) for row in rows)


def running(stage: str, **values: float) -> Snapshot:
    metric = {"values": values} if values else None
    return Snapshot(status="running", alive=True, stages=(StageSnapshot(stage, "running"),), metric=metric)


def test_four_gpus_are_shown_with_memory_heat_and_power_and_one_lost_midway_as_lost():
    readings = [reading(t, gpus=[gpu(i, 90 + i) for i in range(4)]) for t in (0, 2, 4)]
    readings.append(reading(6, gpus=[gpu(0, 90), {"index": 1, "name": None, "lost": True}, gpu(2, 92, throttled=True)]))
    shown = said(machine(readings, 44, 40, "GPU"))
    assert "GPU 0   90 %" in shown
    assert shown.count("lost") == 2  # the one that says so, and the one that is not there any more
    assert "14.2 GB of 24.0 GB  71 °C  318 W" in shown
    assert "▲ hot" in shown
    low = machine(readings, 44, 10, "GPU")
    assert "°C" not in said(low)
    assert "GPU 3" in said(low)


def test_a_machine_without_a_gpu_says_none():
    assert "GPU     none" in said(machine([reading(0)], 44, 40, "CPU"))
    assert said(machine([], 44, 40, "")) == "no reading yet"


def test_the_disk_is_forecast_and_a_disk_that_does_not_fill_never_is_full():
    filling = [reading(0), reading(100, disk_free_bytes=411_000_000_000)]
    assert disk_text(filling) == "411 GB free · full: in 11 h 25 m"
    assert disk_text([reading(0), reading(100)]).endswith("full: never")
    assert disk_text([reading(0), reading(2, disk_free_bytes=1)]) == "1 B free"  # two seconds forecast nothing
    over = "".join(text for row in machine(filling, 80, 20, NOTHING_RUNS) for text, *_ in row)
    assert "411 GB free" in over
    assert "full" not in over, "nothing fills the disk once the run is over"


def test_a_rate_is_of_bytes_and_seconds_and_a_process_that_ended_is_no_negative_one():
    counts = [reading(t, job_read_bytes=n) for t, n in ((0, 0), (2, 40e6), (4, 10e6), (6, 30e6))]
    assert rate_of(counts, "job_read_bytes") == pytest.approx(60e6 / 6)
    assert rate_of(counts[:1], "job_read_bytes") is None


@pytest.mark.parametrize(
    ("snapshot", "fields", "limit"),
    [
        (running("train", loader_wait_share=0.4), {"gpus": [gpu(0, 99)]}, "loader: steps wait 40 %"),
        (running("train", loader_wait_share=0.004), {"gpus": [gpu(0, 99)]}, "GPU (loader waits 0 %)"),
        (running("build"), {"io_wait_percent": 40.0}, "reading: processors wait 40 %"),
        (running("build"), {"cpu_percent": 97.0}, "CPU"),
        (running("build"), {"cpu_percent": 97.0, "gpus": [gpu(0, 99)]}, "CPU"),  # a build does not compute on it
        (running("build"), {}, "nothing stands out"),
        (Snapshot(status="paused", alive=True), {}, "paused"),
        (Snapshot(status="done", alive=False), {}, "nothing runs"),
    ],
)
def test_what_limits_a_run(snapshot, fields, limit):
    assert what_limits(snapshot, [reading(t, **fields) for t in (0, 2, 4)]).startswith(limit)


def test_writing_that_holds_a_run_up_is_told_from_reading():
    readings = [reading(t, io_wait_percent=40.0, job_read_bytes=t, job_written_bytes=t * 1e7) for t in (0, 2, 4)]
    assert what_limits(running("build"), readings).startswith("disk, writing")


def chunk(number: int, seconds: float, **fields: object) -> dict[str, object]:
    return {"kind": "chunk", "stage": "build", "time": at(seconds), "number": number, "patients": 10,
            "segments": 1000, "bytes": 4_000_000, "rejected": {"clipping": 30, "noise": 10}, **fields}  # fmt: skip


def test_a_build_is_cells_of_shards_done_in_hand_damaged_and_waiting():
    build = Building()
    build.add({"kind": "stage_started", "stage": "build"})
    build.add({"kind": "warning", "stage": "build", "code": "shard-damaged", "message": "shard 6 is damaged; it is …"})
    build.add({"kind": "progress", "stage": "build", "unit": "patients", "done": 20, "total": 100})
    assert build.cells(shard_patients=10).count("done") == 2
    for n, number in enumerate((3, 5, 4)):
        build.add(chunk(number, 60 * n))
    states = build.cells()
    assert states[:5] == ["done"] * 5  # two from before, three of this run
    assert states[5] == "damaged"
    assert len(states) == 10
    assert states[6:] == ["waiting"] * 4
    assert build.per_minute() == pytest.approx((10.0, 1000.0))
    build.add(chunk(8, 180))
    assert build.cells()[6] == "running"  # an earlier one than the last committed is in hand
    assert build.rejected == {"clipping": 120, "noise": 40}
    build.add({"kind": "stage_finished", "stage": "build", "status": "done"})
    assert "damaged" not in build.cells()


def test_the_histogram_sums_up_what_does_not_fit():
    rows = said(histogram({"a": 50, "b": 100, "c": 3, "d": 2}, 40, 3)).split("\n")
    assert [row.split()[0] for row in rows] == ["b", "a", "2"]
    assert "others" in rows[2]
    assert rows[0].count("▇") == 2 * rows[1].count("▇")


def test_what_was_missed_counts_only_what_came_after_the_last_look():
    away = Away(at(0), START + timedelta(hours=3, minutes=2))
    events = [chunk(1, -5), *(chunk(n, 60 * n) for n in range(2, 43)),
              {"kind": "warning", "time": at(70), "code": "x"}, {"kind": "warning", "time": at(80), "code": "x"},
              {"kind": "metric", "time": at(-90), "epoch": 3, "values": {"val_loss": 2.5}},
              {"kind": "metric", "time": at(90), "epoch": 12, "values": {"val_loss": 1.842}},
              {"kind": "metric", "time": at(95), "epoch": 13, "values": {"val_loss": 1.9}},
              {"kind": "run_finished", "time": at(20_000), "status": "done"}]  # fmt: skip
    for event in events:
        away.add(event)
    expected = "while you were away (3 h 2 m): 41 chunks, 2 warnings, best validation 1.842 at epoch 12"
    assert away.text() == expected


def test_a_short_or_first_look_misses_nothing():
    for since in (None, at(0)):
        away = Away(since, START + timedelta(seconds=30))
        away.add(chunk(1, 10))
        assert away.text() == ""


async def test_the_returning_console_says_what_was_missed_and_hides_it(job):
    train_a_little(job)
    memory.remember_seen(job.workspace, "2026-01-01T00:00:00+00:00")
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "while you were away" in text(pilot))
        assert "best validation 1.842 at epoch 1" in text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: not pilot.app.query_one("#away").has_class("-shown"))
    seen = memory.last_seen(job.workspace)
    assert seen is not None
    assert seen > "2026-01-02"


async def test_a_build_shows_its_chunks_and_training_brings_the_loss_forward(job):
    job.emit("stage_started", "build", status="running")
    job.emit("progress", "build", done=0, total=40, unit="patients", rate=None, remaining_seconds=None)
    for number in (1, 2, 3):
        job.emit("chunk", "build", number=number, patients=10, segments=1000, rejected={"clipping": 385}, bytes=4)
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "███·" in text(pilot))
        assert "clipping" in text(pilot)
        assert "3 shards this run" in text(pilot)
        job.emit("stage_finished", "build", status="done", seconds=61.0, result={"patients": 40})
        job.emit("stage_started", "train", status="running")
        job.emit("metric", "train", step=1, epoch=1, values={"train_loss": 5.0, "knn": 0.9})
        await until(pilot, lambda: "1 of 1 points" in text(pilot) or "train 5" in text(pilot))
        await pilot.press("m")
        await until(pilot, lambda: pilot.app.page._tabs()[pilot.app.page._tab][0] == "knn")
        await pilot.press("m")
        await until(pilot, lambda: "███" in text(pilot))
        await pilot.press("M", "M", "l")
        assert pilot.app.page._tabs()[pilot.app.page._tab][0] == "loss"


async def test_events_are_read_whole_and_processes_as_a_tree(job):
    hint = "look " + 30 * "very " + "closely"
    job.emit("warning", "train", code="loss-spike", message="[red]the loss[/] rose", hint=hint)
    async with Console(job.workspace).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "loss-spike" in text(pilot))
        await pilot.press("e")
        await pilot.pause()
        assert "[red]the loss[/] rose" in str(pilot.app.screen._text)
        assert "closely" in str(pilot.app.screen._text)
        await pilot.press("escape", "t")
        await until(pilot, lambda: "pid" in said([[(pilot.app.screen.query_one("Rows").render_line(0).text,)]])
                    or "runs on" in pilot.app.screen.query_one("Rows").render_line(0).text)  # fmt: skip
        await pilot.press("escape")
        assert len(pilot.app.screen_stack) == 1


@pytest.mark.parametrize("screen", ["1", "8m"])
async def test_the_keys_of_a_chart_zoom_pan_read_out_and_smooth(job, screen):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        await pilot.press(*screen)
        await until(pilot, lambda: has_braille(pilot.app.page.query_one("#chart", Chart)))
        chart = pilot.app.page.query_one("#chart", Chart)

        def seen() -> tuple[float, float]:
            return chart._x_range().low, chart._x_range().high

        whole = seen()
        await pilot.press("+")
        part = seen()
        assert part[1] - part[0] < 0.7 * (whole[1] - whole[0])
        await pilot.press("[")
        assert seen()[0] < part[0]
        await pilot.press("]")
        assert seen() == pytest.approx(part)
        await pilot.press("-")
        assert seen()[0] < part[0]
        assert seen()[1] > part[1]
        await pilot.press("+", "0")
        assert chart._view is None
        await pilot.press("c")
        at = chart.crosshair
        assert at is not None
        await pilot.press(",")
        assert chart.crosshair < at
        await pilot.press(".")
        assert chart.crosshair == at
        await pilot.press("c", "w", "l")
        assert chart.crosshair is None
        assert chart.smoothing == 1
        assert chart.log_axis


async def test_four_gpus_of_which_one_goes_while_the_console_looks_on(job):
    train_a_little(job)
    for _ in range(3):
        job.gauges.write({"kind": "gauge", **reading(0, gpus=[gpu(i, 90 + i) for i in range(4)])})
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: all(f"GPU {i}" in text(pilot) for i in range(4)))
        assert "lost" not in text(pilot)
        gone = [gpu(0, 90), {"index": 1, "name": None, "lost": True}, gpu(2, 92), gpu(3, 93)]
        job.gauges.write({"kind": "gauge", **reading(2, gpus=gone)})
        await until(pilot, lambda: "✖ lost" in text(pilot))
        assert "GPU 3" in text(pilot)
