"""``status``, ``stop``, ``pause``, ``resume``, ``checkpoint-now`` on a real job, as a script uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from job_harness import events_of, ours, wait_for

SLOW_BUILD = {"units": 400, "unit_seconds": 0.05}


@pytest.fixture
def command(workspace):
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ecgconsole", *arguments, "-o", str(workspace.folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def test_a_script_watches_pauses_resumes_and_stops_a_job(start, workspace, command):
    job = start("json", "build,train", plan=SLOW_BUILD)
    job.seen("chunk", number=3)

    def said() -> dict[str, Any] | None:
        """Once the state, which is written twice a second, has the stage's progress."""
        status = json.loads(command("status", "--json").stdout)
        return status if status["stages"][0]["rate"] else None

    during = wait_for(said, "progress")
    assert (during["status"], during["alive"], during["pid"]) == ("running", True, job.process.pid)
    assert during["stages"][0]["status"] == "running"
    assert during["stages"][0]["total"] == 400
    assert during["stages"][0]["done"] >= 1
    assert during["stages"][0]["rate"] > 0
    assert during["stages"][1]["status"] == "waiting"
    assert "● build" in command("status").stdout

    assert command("pause").stdout == "run 0001 pauses after the unit in hand\n"
    assert "run 0001: paused" in command("status").stdout
    assert command("resume").returncode == 0
    assert command("checkpoint-now").returncode == 0

    stopped = command("stop")
    assert stopped.returncode == 0
    assert stopped.stdout.startswith("run 0001 stopped (finished and saved): stopped on request; saved: ")
    assert job.wait() == 130
    after = json.loads(command("status", "--json").stdout)
    assert (after["status"], after["alive"], after["exit_code"]) == ("stopped", False, 130)
    assert command("stop").stdout == f"no job runs in {workspace.folder}: run 0001 is stopped\n"
    assert command("pause").returncode == 1


def test_stop_now_terminates(start, workspace, command):
    job = start("json", "ignores_request")
    job.seen("progress")
    stopped = command("stop", "--now")
    assert (stopped.returncode, stopped.stdout[:30]) == (0, "run 0001 stopped (terminated):")
    assert job.wait() == 130
    assert ours(workspace) == []


def test_a_training_is_asked_for_a_checkpoint(start, workspace, command):
    """The request reaches the stage, whenever it comes."""
    job = start("json", "with_checkpoints")
    job.seen("progress")
    assert command("checkpoint-now").returncode == 0
    assert job.wait() == 0
    assert [e["stage"] for e in events_of(workspace) if e["kind"] == "checkpoint"] == ["with_checkpoints"]


def test_a_job_whose_lock_was_taken_by_another_host_ends_with_code_5(start, workspace):
    job = start("json", "build", "job.terminate_seconds=1", plan=SLOW_BUILD)
    job.seen("chunk", number=2)
    record = json.loads(workspace.lock.read_text())
    taken = {**record, "token": "theirs", "process": {**record["process"], "host": "node17"}}
    workspace.lock.write_text(json.dumps(taken))
    assert job.wait() == 5
    assert "another job has taken" in job.process.stderr.read()
    assert json.loads(workspace.lock.read_text())["token"] == "theirs"


def test_what_was_printed_before_a_kill_is_on_disk_and_has_no_holes(start, workspace):
    job = start("json", "chatty", plan={"count": 100_000})
    printed = [job.process.stdout.readline() for _ in range(500)]
    job.process.kill()
    job.wait()
    wait_for(lambda: ours(workspace) == [], "nothing of ours left")
    written = events_of(workspace)
    assert [e["seq"] for e in written] == list(range(len(written)))
    assert [json.loads(line) for line in printed] == written[: len(printed)]


@pytest.mark.slow
def test_run_on_a_terminal_opens_the_console_and_a_closed_terminal_ends_neither(workspace, tmp_path):
    cohort = tmp_path / "cohort"
    synth = ["synth", str(cohort), "--patients", "3", "--hours", "0.1", "--workers", "1"]
    subprocess.run([sys.executable, "-m", "ecgconsole", *synth], check=True, capture_output=True)
    arguments = ["run", "-o", str(workspace.folder), "--stages", "build"]
    arguments += ["--set", f"data.waveform_dir={cohort / 'waveforms'}"]
    main, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path / "state")}
    console = subprocess.Popen(
        [sys.executable, "-m", "ecgconsole", *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env=environment,
    )
    os.close(terminal)
    shown = b""
    while b"build" not in shown:
        shown += os.read(main, 65536)
    os.close(main)  # the terminal window is closed
    console.kill()
    console.wait()
    from ecgconsole.jobs.state import read_snapshot

    final = wait_for(lambda: (s := read_snapshot(workspace)) and not s.alive and s, "the end")
    assert (final.status, final.stages[0].result["patients"]) == ("done", 3)
