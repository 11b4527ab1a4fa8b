"""The console shows what a job's files say and asks for what its keys mean; it touches nothing else."""

from __future__ import annotations

import json

import pytest
from textual.pilot import Pilot

from ecgconsole.console.app import Console, main
from ecgconsole.console.chart import Chart
from ecgconsole.console.rows import Rows
from ecgconsole.workspace import Workspace
from tests.console.harness import SIZES, has_braille, text, train_a_little, until


@pytest.mark.parametrize("size", SIZES)
async def test_stage_progress_and_loss_of_a_running_job(job, size):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=size) as pilot:
        await until(pilot, lambda: "120 of 500 steps" in text(pilot) and "○ embed" in text(pilot))
        shown = text(pilot)
        assert "● running" in shown
        assert "✔ build" in shown
        await until(pilot, lambda: has_braille(pilot.app.query_one(Chart)))
        await until(pilot, lambda: "val 1.842" in text(pilot))
        for widget in pilot.app.query(Rows):
            assert {len(widget.render_line(y).text) for y in range(widget.size.height)} <= {widget.size.width}


async def test_what_happens_while_one_looks_appears(job):
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "○ train" in text(pilot))
        train_a_little(job)
        job.emit("warning", "train", code="loss-spike", message="the loss rose", hint="look at the data")
        await until(pilot, lambda: "120 of 500 steps" in text(pilot))
        await until(pilot, lambda: "loss-spike" in text(pilot))
        job.gauges.write({"cpu_percent": 34.0, "ram_used_bytes": 21e9, "ram_total_bytes": 64e9, "gpus": []})
        await until(pilot, lambda: "21.0 GB of 64.0 GB" in text(pilot))


async def test_a_stop_asks_first_and_no_means_no(job):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        await pilot.press("s", "n")
        await pilot.press("s", "escape")
        await pilot.pause(0.2)
        assert job.requests() == []
        await pilot.press("s", "y")
        await until(pilot, lambda: job.requests() == ["stop"])
        await pilot.press("S", "y")
        await until(pilot, lambda: job.requests() == ["stop", "stop-now"])


async def test_pause_and_resume_by_one_key_and_a_checkpoint_by_another(job):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: job.requests() == ["pause"])
        job.emit("control", "train", action="pause", by="a test")
        await until(pilot, lambda: "‖ paused" in text(pilot))
        await pilot.press("p", "k")
        await until(pilot, lambda: sorted(job.requests()[1:]) == ["checkpoint", "resume"])


async def test_read_only_asks_for_nothing(job):
    train_a_little(job)
    async with Console(job.workspace, read_only=True).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "read-only" in text(pilot))
        await pilot.press("s", "y", "S", "y", "p", "k", "r", "y")
        await pilot.pause(0.3)
        assert job.requests() == []
        assert len(job.workspace.run_ids()) == 1


def test_leaving_says_that_the_job_goes_on(job, monkeypatch, capsys):
    train_a_little(job)

    async def drive(pilot: Pilot) -> None:
        await until(pilot, lambda: "running" in text(pilot))
        await pilot.press("q")

    run = Console.run
    monkeypatch.setattr(Console, "run", lambda self: run(self, headless=True, auto_pilot=drive))
    main(job.workspace)
    assert job.requests() == []
    assert capsys.readouterr().out.startswith("The job goes on. To see it again: ecgconsole -o /")


async def test_escapes_and_markup_in_a_file_are_shown_as_text(job):
    job.emit("warning", "build", code="x", message="see [/bin/bash -c] \x1b]52;c;aGk=\x07 and [bold", hint="[/]")
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "see [/bin/bash -c]" in text(pilot))
        assert "\x1b" not in text(pilot)
        assert "[bold]of[b] mine" in text(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_an_empty_folder_says_how_to_begin(tmp_path, size):
    async with Console(Workspace(tmp_path / "new")).run_test(size=size) as pilot:
        await until(pilot, lambda: "no run in this folder yet" in text(pilot))
        await until(pilot, lambda: "press r" in text(pilot))
        await pilot.press("s", "p", "k", "r", "question_mark", "escape", "l")
        await pilot.pause()
    assert not (tmp_path / "new").exists()


async def test_a_lost_run_is_shown_as_lost(job):
    train_a_little(job)
    state = json.loads(job.run.state.read_text())
    state["process"]["start"] = "another process with this number"
    job.run.state.write_text(json.dumps(state))
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✖ lost" in text(pilot))
        assert "✖ train    at 120 of 500 steps: its process is gone" in text(pilot)
        assert "38 s left" not in text(pilot)


async def test_nothing_is_drawn_when_nothing_changes(job, monkeypatch):
    train_a_little(job)
    async with Console(job.workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "120 of 500 steps" in text(pilot))
        await pilot.pause(0.7)
        drawn = []
        monkeypatch.setattr(Rows, "refresh", lambda self, *regions, **kw: drawn.append((self.id, regions)))
        await pilot.pause(1.6)
        assert drawn == []
