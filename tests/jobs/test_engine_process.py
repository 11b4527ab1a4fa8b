"""An engine that starts before its job is known: what it prints is kept, and it goes when it is not wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from ecgconsole.config import resolve
from ecgconsole.errors import ExitCode
from ecgconsole.jobs.engine_process import EngineProcess
from ecgconsole.jobs.processes import marked, new_marker
from ecgconsole.stage import Stage
from ecgconsole.workspace import RunFolder, Workspace

STAGE = Stage("build", "loud_stages:run", (), (), (), (), "patients")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return Workspace(tmp_path)


def new_run(workspace: Workspace) -> RunFolder:
    run = workspace.new_run()
    run.config.write_text(resolve(overrides=["build.max_patients=7"], environment={}).config.to_json())
    return run


def last_words(engine: EngineProcess) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    while not messages and engine.exit_code is None:
        messages = engine.hear(0.1)
    return (messages or engine.hear(0.1) or [{}])[-1]


def test_what_is_printed_before_the_job_is_known_comes_first_in_its_log(workspace: Workspace) -> None:
    engine = EngineProcess(STAGE, new_marker())
    run = new_run(workspace)
    engine.begin(workspace, run, {})
    said = last_words(engine)
    assert engine.end() == []
    assert said["event"]["result"] == {"patients": 7}
    assert run.engine_log.read_text() == "words of an import\nwords of a stage\n"


@pytest.mark.parametrize(("how", "trace"), [("raise", "libgone"), ("abort", "Fatal Python error: Aborted")])
def test_an_import_that_fails_before_the_job_is_known_is_told_when_it_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str, trace: str
) -> None:
    monkeypatch.setenv("LOUD", how)
    engine = EngineProcess(STAGE, new_marker())
    run = new_run(workspace)
    if how == "abort":
        engine._process.wait()
    engine.begin(workspace, run, {})
    said = last_words(engine)
    engine.end()
    if how == "raise":
        assert said["exit_code"] == ExitCode.STAGE_FAILED
        assert trace in said["error"]
    else:
        assert "SIGABRT" in engine.death()
    text = run.engine_log.read_text()
    assert text.startswith("words of an import")
    assert trace in text


def test_an_engine_that_gets_no_job_is_ended_with_all_it_started(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUD", "hang")
    engine = EngineProcess(STAGE, new_marker())
    assert engine.exit_code is None
    assert engine.end() == []
    assert engine.end() == []
    assert engine.exit_code is not None
    assert marked(engine.marker) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["-o", "out", "--set", "build.nothing=1"], ExitCode.USAGE, "build.nothing: no such parameter\n"),
        (["-o", "out", "--bogus"], ExitCode.USAGE, "No such option: --bogus\n"),
        ([], ExitCode.USAGE, "-o production_full\n"),
        (["-h"], 0, ""),
    ],
)
def test_a_command_line_that_starts_no_run_leaves_no_engine(
    tmp_path: Path, arguments: list[str], exit_code: int, said: str
) -> None:
    command = [sys.executable, "-m", "ecgconsole", "build", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == exit_code
    assert (done.stdout == "") == (exit_code != 0)
    assert done.stderr.endswith(said)
    here = [p.info["cmdline"] for p in psutil.process_iter(["cwd", "cmdline"]) if p.info["cwd"] == str(tmp_path)]
    assert here == []
    assert list(tmp_path.iterdir()) == []
