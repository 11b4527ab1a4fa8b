"""The parameters as a form: validated as one types, compared, and what a change does before it is saved."""

from __future__ import annotations

import json

import pytest
from textual.widgets import Input, TextArea

from ecgconsole.config import Config, flatten, load, resolve
from ecgconsole.console.app import Console
from ecgconsole.console.forms import Draft, parameters, problem_of, value_of
from ecgconsole.console.past import plan, what_is_redone
from ecgconsole.console.table import Table
from ecgconsole.errors import ConfigurationError
from ecgconsole.workspace import Workspace, write_json
from tests.console.harness import FakeJob, until


@pytest.fixture
def built(tmp_path):
    """A folder whose build took two hours, with the parameters that it was built with."""
    job = FakeJob(tmp_path / "out")
    config = resolve(None, ["build.chunk_size=100"], environment={}).config
    job.workspace.config.write_text(config.to_json())
    from ecgconsole.stage import STAGES

    records = {}
    for stage, seconds in zip(STAGES[:2], (7200.0, 600.0), strict=True):
        for name in stage.outputs:
            getattr(job.workspace, name).write_bytes(b"x")
        records[stage.name] = {"inputs": {"settings": config.identity(stage.settings)}, "result": {}, "run_id": "0001"}
        job.emit("stage_started", stage.name, status="running")
        job.emit("stage_finished", stage.name, status="done", seconds=seconds, result={})
    write_json(job.workspace.stages, {"format": 1, "stages": records})
    job.emit("run_finished", run_id="0001", status="done", exit_code=0, seconds=7800.0)
    return job.workspace


def row_of(pilot, key):
    table = pilot.app.page.query_one(Table)
    return tuple(cell.text for cell in table._cells[list(table._keys).index(key)])


async def select(pilot, key):
    table = pilot.app.page.query_one(Table)
    table.select(list(table._keys).index(key))
    await pilot.pause()


async def opened(pilot):
    await pilot.press("3")
    await until(pilot, lambda: pilot.app.page.NAME == "parameters" and pilot.app.page.query_one(Table).shown_rows > 50)


async def typed(pilot, text):
    pilot.app.screen.query_one(Input).value = text
    await pilot.pause()


def said(pilot):
    return str(pilot.app.screen.query_one("#said").render())


def test_every_parameter_is_in_the_form_with_its_limits_and_help():
    found = parameters()
    assert set(found) == set(flatten(Config().model_dump(mode="json")))
    assert found["training.learning_rate"].kind == "number, above 0, at most 1"
    assert found["data.require"].kind == "one of both, ecg, ppg, either"
    assert found["build.max_patients"].kind == "whole number, at least 1 or null"
    assert found["split.fractions"].kind == "list of 3, each a number, at least 0, at most 1"
    assert all(p.description for p in found.values())


@pytest.mark.parametrize("text", ["0.5", "null", "[1, 2]", "true", "text", '"quoted"', "a=b", ""])
def test_what_is_typed_means_what_set_means_on_the_command_line(text):
    draft = Draft().with_value("data.patient_map", value_of(text))
    try:
        by_set = resolve(None, [f"data.patient_map={text}"], environment={}).config
    except ConfigurationError:
        assert problem_of(draft)
    else:
        assert draft.resolved().config == by_set


def test_a_change_is_told_by_what_it_does_again(built):
    config = load(built.config)
    assert what_is_redone(plan(config, built)) == ""
    one = resolve(built.config, ["training.learning_rate=0.001"], environment={}).config
    assert what_is_redone(plan(one, built)) == "10 m of train is done again"
    other = resolve(built.config, ["build.segment_seconds=20"], environment={}).config
    assert what_is_redone(plan(other, built)) == "2 h 0 m of build, 10 m of train are done again"
    how = resolve(built.config, ["build.num_workers=3"], environment={}).config
    assert what_is_redone(plan(how, built)) == ""
    built.dataset.unlink()
    assert [p.why for p in plan(config, built)][:2] == ["its files are missing", "comes after build"]


async def test_an_edit_is_validated_as_one_types_and_says_what_is_redone_before_it_is_saved(built):
    async with Console(built).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await select(pilot, "build.segment_seconds")
        await pilot.press("enter")
        await pilot.pause()
        await typed(pilot, "1000")
        assert "less than or equal to 120" in said(pilot)
        await pilot.press("enter")
        assert len(pilot.app.screen_stack) == 2  # it does not close on a problem
        await typed(pilot, "10.0001")
        assert "not a whole number of samples" in said(pilot)
        await typed(pilot, "20")
        assert said(pilot) == ""
        await pilot.press("enter")
        await until(pilot, lambda: row_of(pilot, "build.segment_seconds")[2] == "20.0")
        assert row_of(pilot, "build.segment_seconds")[4] == "edited here"
        assert row_of(pilot, "build.segment_seconds")[3] == "10.0"
        assert "2 h 0 m of build" in pilot.app.page._effect
        assert load(built.config).build.segment_seconds == 10.0
        await pilot.press("w")
        await pilot.pause()
        assert "2 h 0 m of build, 10 m of train are done again" in pilot.app.screen._question
        await pilot.press("n")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert load(built.config).build.segment_seconds == 10.0
        await pilot.press("w")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await pilot.press("y")
        await until(pilot, lambda: load(built.config).build.segment_seconds == 20.0)
        assert load(built.config).build.chunk_size == 100


async def test_undo_default_compare_find_and_save_as(built, tmp_path):
    async with Console(built).run_test(size=(200, 60)) as pilot:
        await opened(pilot)
        await select(pilot, "build.chunk_size")
        assert row_of(pilot, "build.chunk_size")[:4] == ("≠", "  chunk_size", "100", "500")
        await pilot.press("d")
        await until(pilot, lambda: row_of(pilot, "build.chunk_size")[2] == "500")
        await pilot.press("c")  # with the last run
        await until(pilot, lambda: row_of(pilot, "build.chunk_size")[3] == "100")
        await pilot.press("u")
        await until(pilot, lambda: row_of(pilot, "build.chunk_size")[:4] == (" ", "  chunk_size", "100", ""))
        await pilot.press("slash", *"temperature")
        wanted = [p for p in parameters().values() if "temperature" in f"{p.key} {p.description}"]
        found = len(wanted) + len({p.section for p in wanted})
        await until(pilot, lambda: pilot.app.page.query_one(Table).shown_rows == found)
        await pilot.press("enter", "escape")
        await until(pilot, lambda: pilot.app.page.query_one(Table).shown_rows > 50)
        await pilot.press("W")
        await pilot.pause()
        await typed(pilot, str(tmp_path / "mine.txt"))
        assert ".json" in said(pilot)
        await typed(pilot, str(tmp_path / "some where" / "mine.json"))
        await pilot.press("enter", "y")
        await until(pilot, lambda: (tmp_path / "some where" / "mine.json").is_file())
        assert load(tmp_path / "some where" / "mine.json") == load(built.config)


async def test_all_as_json_with_the_same_validation_and_a_preset(built):
    async with Console(built).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("j")
        await pilot.pause()
        area = pilot.app.screen.query_one(TextArea)
        values = json.loads(area.text)
        values["training"]["learning_rate"] = 7
        values["training"]["lerning_rate"] = 1
        area.text = json.dumps(values)
        await pilot.pause()
        await pilot.press("ctrl+s")
        assert len(pilot.app.screen_stack) == 2
        assert "did you mean learning_rate" in str(pilot.app.screen.query_one("Static").render())
        values["training"] = {**values["training"], "learning_rate": 0.002}
        del values["training"]["lerning_rate"]
        area.text = json.dumps(values)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: row_of(pilot, "training.learning_rate")[2] == "0.002")
        assert dict(pilot.app.page.draft.edits) == {"training.learning_rate": 0.002}
        await pilot.press("o")
        await pilot.pause()
        await pilot.press("enter")  # the first: demo
        await until(pilot, lambda: row_of(pilot, "training.batch_size")[2] == "64")


async def test_read_only_saves_nothing_and_an_empty_folder_shows_the_defaults(tmp_path):
    workspace = Workspace(tmp_path / "none")
    async with Console(workspace, read_only=True).run_test(size=(50, 20)) as pilot:
        await opened(pilot)
        await pilot.press("w", "y", "W", "c", "c", "c")
        await pilot.pause()
        assert row_of(pilot, "training.batch_size")[2] == "512"
    assert not workspace.folder.exists()
