"""The checkpoints on the screen, by the real ``ecgconsole checkpoints`` on real files."""

from __future__ import annotations

import hashlib
import json

import pytest

from ecgconsole.config import Config
from ecgconsole.console import app as app_module
from ecgconsole.console.app import Console
from ecgconsole.console.rows import sparkline
from ecgconsole.console.screens.checkpoints import grouped
from ecgconsole.console.table import Table
from ecgconsole.jobs.processes import this_process
from ecgconsole.jobs.state import write_state
from ecgconsole.training.checkpoints_index import Sidecar, sidecar_path, write_checkpoint
from tests.console.harness import FakeJob, until


def write(workspace, name, epoch, val_loss, data=None):
    data = data or f"weights of epoch {epoch}".encode() * 1000
    parameters = Config().model_dump(mode="json", include={"model", "training"})
    parameters["training"]["learning_rate"] = 1e-4
    sidecar = Sidecar(
        sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), epoch=epoch, step=100 * epoch, step_in_epoch=0,
        val_loss=val_loss, metrics={"val_loss": val_loss, "retrieval": 0.9}, parameters=parameters,
        configuration_sha256="0" * 64, dataset_sha256="1" * 64, version="0.1.0",
    )  # fmt: skip
    write_checkpoint(workspace.folder / name, data, sidecar)


@pytest.fixture
def finished(tmp_path):
    """A run that has ended, with five epochs, the third the best, the first pinned, the second damaged."""
    job = FakeJob(tmp_path / "out")
    for epoch, loss in enumerate((2.5, 2.2, 1.8, 1.9, 1.95), 1):
        job.emit("metric", "train", step=100 * epoch, epoch=epoch, values={"val_loss": loss})
        write(job.workspace, f"checkpoint_epoch_{epoch}.pth", epoch, loss)
    write(job.workspace, "best_checkpoint.pth", 3, 1.8)
    write(job.workspace, "latest_checkpoint.pth", 5, 1.95)
    one = sidecar_path(job.workspace.epoch_checkpoint(1))
    one.write_text(json.dumps({**json.loads(one.read_text()), "pinned": True}))
    damaged = job.workspace.epoch_checkpoint(2)
    damaged.write_bytes(damaged.read_bytes().replace(b"weights", b"Weights", 1))
    job.emit("run_finished", run_id="0001", status="done", exit_code=0, seconds=3.0)
    return job


def table(pilot):
    return pilot.app.page.query_one(Table)


def cells(pilot):
    """Rows by epoch, each by the heads of its columns."""
    shown = table(pilot)
    heads = [column.title for column in shown._columns]
    rows = [dict(zip(heads, (cell.text for cell in row), strict=True)) for row in shown._cells]
    return {row["epoch"]: row for row in rows}


async def select(pilot, epoch):
    table(pilot).select([row[1].text for row in table(pilot)._cells].index(str(epoch)))
    await pilot.pause()


async def opened(pilot):
    await pilot.press("4")
    await until(pilot, lambda: pilot.app.page.NAME == "checkpoints" and len(cells(pilot)) == 5)


def notes(pilot):
    return " | ".join(n.message for n in pilot.app._notifications)


async def test_each_checkpoint_is_a_row_with_why_it_is_kept_and_what_differs(finished):
    async with Console(finished.workspace).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        rows = cells(pilot)
        assert rows["3"][" "] == "★"
        assert "best" in rows["3"]["kept because"]
        assert "latest" in rows["5"]["kept because"]
        assert "pinned" in rows["1"]["kept because"]
        assert (rows["5"]["step"], rows["5"]["val ↓"]) == ("500", "1.95")
        page = pilot.app.page
        await until(
            pilot, lambda: "✔ verified" in cells(pilot)["5"]["state"]
        )  # the first row is compared, and so verified
        await until(pilot, lambda: "training.learning_rate" in str(page.query_one("#checkpoint-differences")._spans))
        assert "0.0001  →  0.0003" in str(page.query_one("#checkpoint-differences")._spans)
        assert "best 1.8" in str(page.query_one("#checkpoint-trend")._spans)


async def test_verify_all_finds_the_damaged_one_and_its_details_say_what(finished, commands_in_process):
    async with Console(finished.workspace).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("V")
        await until(pilot, lambda: "1 damaged" in notes(pilot))
        assert cells(pilot)["2"]["state"].startswith("✖")
        assert sum(r["state"] == "✔ verified" for r in cells(pilot).values()) == 4
        await select(pilot, 2)
        await pilot.press("d")
        await pilot.pause()
        assert "damaged" in pilot.app.screen._text
        assert "newest whole" in pilot.app.screen._text
        await pilot.press("escape", "enter")
        assert "not resumed from" in notes(pilot)


async def test_pin_and_delete_change_the_files_and_never_latest_best_or_pinned(finished, commands_in_process):
    folder = finished.workspace.folder
    async with Console(finished.workspace).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        for epoch in (5, 3, 1):
            await select(pilot, epoch)
            await pilot.press("x")
            assert len(pilot.app.screen_stack) == 1
        assert notes(pilot).count("is not deleted") == 3
        await select(pilot, 4)
        await pilot.press("p")
        await until(pilot, lambda: "pinned" in cells(pilot)["4"]["kept because"])
        await pilot.press("p")
        await until(pilot, lambda: "pinned" not in cells(pilot)["4"]["kept because"])
        await pilot.press("x", "n")
        assert (folder / "checkpoint_epoch_4.pth").exists()
        await pilot.press("x", "y")
        await until(pilot, lambda: "4" not in cells(pilot))
        assert not (folder / "checkpoint_epoch_4.pth").exists()
        assert not (folder / "checkpoint_epoch_4.json").exists()


async def test_what_the_running_job_resumed_from_is_not_deleted(finished, commands_in_process):
    """Refused by the command, and so on the screen."""
    job = FakeJob(finished.workspace.folder)
    path = finished.workspace.epoch_checkpoint(4)
    argv = ["ecgconsole", "run", "--resume", str(path)]
    write_state(job.run.state, this_process(), {"argv": argv}, job.snapshot)
    async with Console(finished.workspace).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await select(pilot, 4)
        await pilot.press("x", "y")
        await until(pilot, lambda: "the running job uses it" in notes(pilot))
    assert path.exists()


async def test_resume_from_here_asks_and_starts_the_run_from_that_file(finished, monkeypatch, commands_in_process):
    started = []
    monkeypatch.setattr(app_module, "start_run", lambda workspace, arguments: started.append(arguments) or "0002")
    async with Console(finished.workspace).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await select(pilot, 4)
        await pilot.press("enter", "n")
        await pilot.press("enter", "y")
        await until(pilot, lambda: bool(started))
        await until(pilot, lambda: pilot.app.page.NAME == "dashboard")
    path = str(finished.workspace.epoch_checkpoint(4))
    assert started == [["run", "--no-tui", "--output", "json", "-o", str(finished.workspace.folder), "--resume", path]]


async def test_read_only_changes_nothing(finished, commands_in_process):
    before = {p.name: p.read_bytes() for p in finished.workspace.folder.glob("*.*")}
    async with Console(finished.workspace, read_only=True).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await select(pilot, 4)
        await pilot.press("x", "y", "p", "enter", "y")
        await pilot.pause(0.3)
        assert len(pilot.app.screen_stack) == 1
    assert {p.name: p.read_bytes() for p in finished.workspace.folder.glob("*.*")} == before
    assert finished.workspace.run_ids() == ["0001"]


async def test_no_checkpoint_says_what_makes_one(tmp_path):
    from ecgconsole.workspace import Workspace

    async with Console(Workspace(tmp_path / "none")).run_test(size=(50, 20)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "press r" in str(pilot.app.page.query_one("#checkpoint-differences")._spans))
        await pilot.press("enter", "x", "p", "v", "V", "d", "y")
        assert len(pilot.app.screen_stack) == 1


def test_files_with_the_same_bytes_are_one_row_and_damaged_ones_stand_alone():
    def file(name, sha, problem=None):
        return {"path": f"/o/{name}", "sha256": sha, "problem": problem, "kept_because": name, "pinned": False}

    files = [file("latest_checkpoint.pth", "a"), file("checkpoint_epoch_5.pth", "a"), file("x.pth", "a", "cut off")]
    groups = grouped(files)
    assert [g.path for g in groups] == ["/o/checkpoint_epoch_5.pth", "/o/x.pth"]


def test_a_sparkline_has_gaps_where_there_is_no_value():
    assert sparkline([3, None, 1, float("nan"), 2], 10) == "█ ▁ ▅"
    assert sparkline([1, 2, 3], 2) == "▁█"
    assert sparkline([1, 1], 5) == "▄▄"
    assert sparkline([], 5) == ""
