"""Run control: what starts is what was chosen, after a forecast; a stop climbs its ladder on the screen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from textual.widgets import Input, Select, SelectionList

from ecgconsole.config import Config, JobConfig, preset_path, resolve
from ecgconsole.console import app as app_module
from ecgconsole.console.app import Console
from ecgconsole.console.ladder import Stopping, stopping
from ecgconsole.errors import FolderBusy
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.workspace import Workspace
from tests.console.harness import text, train_a_little, until

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def started(monkeypatch):
    """The arguments of runs that were started."""
    seen = []

    def start(workspace, arguments):
        seen.append(list(arguments))
        return "0001"

    monkeypatch.setattr(app_module, "start_run", start)
    return seen


@pytest.fixture
def folder(tmp_path):
    workspace = Workspace(tmp_path / "out")
    workspace.folder.mkdir()
    waveforms = tmp_path / "waveforms"
    waveforms.mkdir()
    workspace.config.write_text(resolve(None, [f"data.waveform_dir={waveforms}"], environment={}).config.to_json())
    return workspace


async def opened(pilot):
    await pilot.press("2")
    await until(pilot, lambda: pilot.app.page.NAME == "run" and "not done yet" in text(pilot))


def notes(pilot):
    return " | ".join(n.message for n in pilot.app._notifications)


async def test_chosen_stages_start_with_this_folders_parameters_after_a_question(folder, started):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        pilot.app.page.query_one(SelectionList).deselect("report")
        pilot.app.page.query_one(SelectionList).deselect("stroke")
        await pilot.pause()
        assert "not chosen" in text(pilot)
        await pilot.press("r")
        await pilot.pause()
        assert "Start: build, train, embed, discover, validate?" in pilot.app.screen._question
        await pilot.press("n")
        await pilot.pause()
        await pilot.press("r")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.page.NAME == "dashboard")
    stages = ",".join(n for n in STAGE_NAMES if n not in ("report", "stroke"))
    assert started == [
        ["run", "--no-tui", "--output", "json", "-o", str(folder.folder), "--stages", stages, "--resume", "auto"]
    ]


async def test_any_preset_with_recordings_fewer_patients_and_training_anew(tmp_path, started):
    out, waveforms = Workspace(tmp_path / "o u t"), tmp_path / "wave forms"
    waveforms.mkdir()
    async with Console(out).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        page = pilot.app.page
        page.query_one("#run-source", Select).value = "preset demo"
        page.query_one("#run-resume", Select).value = "none"
        await pilot.press("r")
        assert "say where the recordings are" in notes(pilot)
        page.query_one("#run-waveforms", Input).value = str(waveforms)
        page.query_one("#run-patients", Input).value = "20"
        page.query_one(SelectionList).focus()
        await pilot.pause()
        await pilot.press("r")
        await pilot.pause()
        assert "set aside" in pilot.app.screen._question
        await pilot.press("y")
        await until(pilot, lambda: bool(started))
    assert started[0][-6:] == [
        "-c", str(preset_path("demo")), "--set", "build.max_patients=20", "--set", f"data.waveform_dir={waveforms}"
    ]  # fmt: skip
    assert started[0][started[0].index("--resume") + 1] == "none"


async def test_a_wrong_number_is_told_as_it_is_typed(folder, started):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        pilot.app.page.query_one("#run-patients", Input).value = "0"
        await until(pilot, lambda: "build.max_patients" in text(pilot))
        await pilot.press("r")
        await pilot.pause()
        assert started == []
        assert len(pilot.app.screen_stack) == 1


async def test_a_run_that_cannot_start_says_why(folder, monkeypatch):
    def refuse(workspace, arguments):
        raise FolderBusy("run 0007 on [elsewhere] holds this folder")

    monkeypatch.setattr(app_module, "start_run", refuse)
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("r")
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: "[elsewhere] holds this folder" in notes(pilot))


async def test_the_forecast_is_what_doctor_says(folder, commands_in_process):
    async with Console(folder).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("f")
        await until(pilot, lambda: "processors:" in text(pilot))
        shown = text(pilot)
        assert "✖ forecast:" in shown  # the folder of recordings is empty
        assert "memory:" in shown


async def test_while_a_job_runs_none_starts_and_the_ladder_stands_there(job, started):
    job.run.config.write_text(Config(job=JobConfig(stop_seconds=60, terminate_seconds=10)).to_json())
    train_a_little(job)
    clock = [datetime.now(UTC)]
    async with Console(job.workspace, now=lambda: clock[0]).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "running" in text(pilot))
        await pilot.press("r")
        await until(pilot, lambda: pilot.app.page.NAME == "run" and "1 finish the unit in hand and save" in text(pilot))
        assert "a job runs here" in text(pilot)
        await pilot.press("r")
        assert "a job runs here already" in notes(pilot)
        job.emit("control", "train", action="stop", by="a test")
        asked = datetime.fromisoformat(job.snapshot.heartbeat)
        clock[0] = asked + timedelta(seconds=18)
        await until(pilot, lambda: "terminate in 42 s" in text(pilot))
        await until(pilot, lambda: "◐ 1 finish the unit in hand and save  42 s left" in text(pilot))
        clock[0] = asked + timedelta(seconds=64)
        await until(pilot, lambda: "◐ 2 terminate  6 s left" in text(pilot))
        assert "■ 1 finish the unit in hand and save" in text(pilot)
        clock[0] = asked + timedelta(seconds=75)
        await until(pilot, lambda: "◐ 3 kill" in text(pilot))
        job.emit("run_finished", run_id="0001", status="stopped", exit_code=130, seconds=80.0, stopped_by="kill")
        await until(pilot, lambda: "◐" not in text(pilot))
    assert started == []


@pytest.mark.parametrize(
    ("actions", "after_s", "expected"),
    [
        ([], 5, None),
        ([("stop", 0)], 5, Stopping(0, 55)),
        ([("stop", 0)], 60, Stopping(1, 10)),
        ([("stop", 0)], 71, Stopping(2, None)),
        ([("stop-now", 0)], 3, Stopping(1, 7)),
        ([("stop", 0), ("stop-now", 20)], 22, Stopping(1, 8)),
        ([("stop", 0), ("stop-now", 65)], 71, Stopping(2, None)),  # a later wish never lowers it
        ([("stop", 0), ("stop", 50)], 55, Stopping(0, 5)),  # nor does asking again
    ],
)
def test_the_ladder_climbs_with_the_time_since_it_was_asked(actions, after_s, expected):
    events = [
        {"kind": "control", "action": action, "time": (START + timedelta(seconds=t)).isoformat()}
        for action, t in actions
    ]
    job = JobConfig(stop_seconds=60, terminate_seconds=10)
    assert stopping(events, job, START + timedelta(seconds=after_s)) == expected


def test_a_stop_of_an_earlier_run_is_no_stop_of_this_one():
    events = [{"kind": "control", "action": "stop", "time": START.isoformat()}, {"kind": "run_started"}]
    assert stopping(events, JobConfig(), START) is None
