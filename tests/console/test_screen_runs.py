"""Every action of the screen of runs."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ecgconsole.console.app import Console
from ecgconsole.console.chart import Chart
from ecgconsole.console.rows import Rows
from ecgconsole.console.table import Table
from tests.console.harness import SIZES, FakeJob, has_braille, text, train_a_little, until


def trained(folder, until_step=120, slope=40.0) -> FakeJob:
    job = FakeJob(folder)
    job.emit("stage_started", "train", status="running")
    for step in range(1, until_step + 1):
        values = {"train_loss": 5.0 - step / slope}
        if step % 40 == 0:
            values |= {"val_loss": 5.2 - step / slope, "grad_norm": None}
        job.emit("metric", "train", step=step, epoch=(step - 1) // 40 + 1, values=values)
    job.emit("stage_finished", "train", status="done", seconds=9.0, result={"epochs": 3, "val_loss": 2.2})
    job.emit("run_finished", status="done", exit_code=0, seconds=12.0)
    return job


@pytest.fixture
def two_runs(tmp_path):
    trained(tmp_path / "out")
    return trained(tmp_path / "out", slope=60.0).workspace


def chart_of(pilot: Pilot) -> Chart:
    return pilot.app.query_one("Runs").query_one(Chart)


def drawn(pilot: Pilot) -> str:
    chart = chart_of(pilot)
    return "\n".join(chart.render_line(y).text for y in range(chart.size.height))


def title(pilot: Pilot) -> str:
    return str(pilot.app.query_one("#overlay").border_title)


async def opened(pilot: Pilot) -> Table:
    await pilot.press("8")
    await until(pilot, lambda: bool(pilot.app.query("#page-runs")) and has_braille(chart_of(pilot)))
    return pilot.app.query_one("Runs").query_one(Table)


@pytest.mark.parametrize("size", SIZES)
async def test_runs_newest_first_and_the_newest_is_drawn(two_runs, size):
    async with Console(two_runs).run_test(size=size) as pilot:
        table = await opened(pilot)
        rows = [table.render_line(y).text for y in range(1, 3)]
        assert [row.split()[:2] for row in rows] == [["▸", "1"], ["1", "✔"]]
        assert "2" in rows[0]
        assert "✔ done" in rows[0]
        assert "val loss by step" in title(pilot)
        assert "3 of 3 points" in drawn(pilot) or size[0] < 60
        for widget in pilot.app.query_one("Runs").query(Rows):
            assert {len(widget.render_line(y).text) for y in range(widget.size.height)} <= {widget.size.width}


async def test_space_overlays_runs_and_takes_them_away(two_runs):
    async with Console(two_runs).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("down", "space")
        await until(pilot, lambda: "2 run 1" in drawn(pilot))
        assert "1 run 2" in drawn(pilot)
        await pilot.press("up", "enter")
        await until(pilot, lambda: "1 run 1" in drawn(pilot))
        assert "run 2" not in drawn(pilot)
        await pilot.press("down", "space")
        await until(pilot, lambda: not has_braille(chart_of(pilot)))
        assert "space puts a run here" in drawn(pilot)


async def test_metrics_axes_log_and_mean(two_runs):
    async with Console(two_runs).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("m")
        assert "train loss by step" in title(pilot)
        assert "120 of 120 points" in drawn(pilot)
        await pilot.press("a")
        assert "by epoch" in title(pilot)
        assert "epoch" in drawn(pilot).splitlines()[-1]
        await pilot.press("a")
        assert "by hours" in title(pilot)
        await pilot.press("a", "l", "w", "w", "w")
        assert "log y" in title(pilot)
        assert "mean of 12" in drawn(pilot)
        await pilot.press("plus", "right_square_bracket", "c", "comma")
        assert "run 2" in drawn(pilot).splitlines()[-1]
        await pilot.press("m")
        assert "grad norm" in title(pilot)
        await until(pilot, lambda: not has_braille(chart_of(pilot)))


async def test_another_folder_is_added_by_hand_and_remembered(two_runs, tmp_path):
    trained(tmp_path / "elsewhere [b]")
    async with Console(two_runs).run_test(size=(120, 40)) as pilot:
        table = await opened(pilot)
        await pilot.press("i", *str(tmp_path / "no such"), "enter")
        await until(pilot, lambda: any("no output folder" in str(n.message) for n in pilot.app._notifications))
        await pilot.press("i", *str(tmp_path / "elsewhere [b]"), "enter")
        await until(pilot, lambda: table.shown_rows == 3)
        await pilot.press("slash", *"elsewhere", "enter")
        assert table.shown_rows == 1
        await pilot.press("space")
        await until(pilot, lambda: "2 elsewhere [b] · run 1" in drawn(pilot))
    async with Console(two_runs).run_test(size=(120, 40)) as pilot:
        table = await opened(pilot)
        await until(pilot, lambda: table.shown_rows == 3)
        await pilot.press("i", *str(tmp_path / "elsewhere [b]"), "enter")
        await until(pilot, lambda: table.shown_rows == 2)


async def test_a_run_that_goes_on_grows(job):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await pilot.press("8")
        await until(pilot, lambda: bool(pilot.app.query("#page-runs")) and "1 of 1 points" in drawn(pilot))
        await pilot.press("m")
        assert "120 of 120 points" in drawn(pilot)
        for step in range(121, 131):
            job.emit("metric", "train", step=step, epoch=2, values={"train_loss": 2.0})
        await until(pilot, lambda: "130 of 130 points" in drawn(pilot))
        assert "● running" in text(pilot)


async def test_sorting_and_an_empty_folder(two_runs, tmp_path):
    from ecgconsole.workspace import Workspace

    async with Console(two_runs).run_test(size=(120, 40)) as pilot:
        table = await opened(pilot)
        await pilot.press("o", "o")
        assert "run▼" in table.render_line(0).text
        await pilot.press("O")
        assert table.render_line(1).text.split()[0] in ("1", "▸")
        assert pilot.app.query_one("Runs").copied_text().startswith("ecgconsole status -o /")
    (tmp_path / "new").mkdir()
    async with Console(Workspace(tmp_path / "new")).run_test(size=(80, 24)) as pilot:
        await pilot.press("8")
        await until(pilot, lambda: "no run in this folder yet" in text(pilot))
        await pilot.press("space", "m", "a", "l", "w", "plus", "c", "o", "enter")
