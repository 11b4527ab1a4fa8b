"""A run as processes: what it writes, how it skips, fails, stops, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from job_harness import events_of, kinds, ours, wait_for

from ecgconsole.errors import EcgConsoleError
from ecgconsole.jobs.done import read_records
from ecgconsole.jobs.state import read_snapshot
from ecgconsole.jobs.steer import request

ALL = "build,train,embed"


def outcome(workspace):
    return events_of(workspace)[-1]


def stage_events(workspace, kind):
    return {e["stage"]: e for e in events_of(workspace) if e["kind"] == kind}


def test_events_are_numbered_without_holes_and_stdout_has_exactly_them(start, workspace):
    job = start("json", ALL)
    printed = [json.loads(line) for line in job.process.stdout.read().splitlines()]
    assert job.wait() == 0
    written = events_of(workspace)
    assert printed == written
    assert [e["seq"] for e in written] == list(range(len(written)))
    assert all(e["time"].endswith("Z") and "stage" in e for e in written)
    assert kinds(written)[0] == "run_started"
    assert kinds(written)[-1] == "run_finished"
    assert stage_events(workspace, "stage_finished")["train"]["result"]["val_loss"] is None  # NaN is null
    assert job.process.stderr.read() == ""


def test_the_folder_is_readable_by_its_owner_alone(start, workspace):
    assert start("json", "build").wait() == 0
    files = [p for p in workspace.folder.rglob("*") if p.name != "plan.json"]
    assert files
    assert [p for p in files if p.stat().st_mode & 0o077] == []


def test_done_stages_are_skipped_and_what_follows_a_change_is_not(start, workspace, tmp_path):
    inputs = tmp_path / "recordings"
    inputs.mkdir()
    (inputs / "a.hea").write_text("a")
    setting = f"data.waveform_dir={inputs}"
    assert start("json", ALL, setting).wait() == 0

    assert start("json", ALL, setting).wait() == 0
    assert set(stage_events(workspace, "stage_skipped")) == {"build", "train", "embed"}
    assert stage_events(workspace, "stage_skipped")["build"]["result"]["patients"] == 3

    assert start("json", ALL, setting, "training.seed=1", "job.gauge_seconds=1").wait() == 0
    assert set(stage_events(workspace, "stage_skipped")) == {"build"}
    assert stage_events(workspace, "stage_started")["train"]["why"] == "parameters changed"
    assert stage_events(workspace, "stage_started")["embed"]["why"] == "an earlier stage's results changed"

    (inputs / "b.hea").write_text("b")  # built again, to the same content: what follows stands
    assert start("json", ALL, setting, "training.seed=1").wait() == 0
    assert stage_events(workspace, "stage_started")["build"]["why"] == "input files changed"
    assert set(stage_events(workspace, "stage_skipped")) == {"train", "embed"}

    workspace.best_checkpoint.write_text("another, and longer")
    assert start("json", "train", setting, "training.seed=1").wait() == 0
    assert stage_events(workspace, "stage_started")["train"]["why"] == "its files changed or are missing"


def test_options_force_their_stage(start, workspace):
    assert start("json", ALL).wait() == 0
    assert start("json", ALL, "--train:resume:none").wait() == 0
    assert stage_events(workspace, "stage_started")["train"]["why"] == "--resume"
    assert workspace.latest_checkpoint.read_text() == "0 none"
    assert start("json", ALL, "--embed:checkpoint:/some/where.pth").wait() == 0
    assert set(stage_events(workspace, "stage_skipped")) == {"build", "train"}
    assert workspace.train_embeddings.read_text() == "/some/where.pth"
    assert start("json", ALL).wait() == 0  # without it, the default checkpoint is meant again
    assert set(stage_events(workspace, "stage_started")) == {"embed"}


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("input", 3, "no usable recording in "),
        ("memory", 4, "out of memory"),
        ("disk", 4, "the disk is full while writing x.h5"),
        ("bug", 1, "ZeroDivisionError: division by zero"),
        ("SIGSEGV", 1, "SIGSEGV"),
        ("SIGKILL", 1, "SIGKILL"),
    ],
)
def test_a_failing_stage_ends_the_run_with_its_code_and_one_clear_line(start, workspace, how, code, words):
    job = start("json", "fails,build", plan={"how": how})
    assert job.wait() == code
    finished = stage_events(workspace, "stage_finished")["fails"]
    assert finished["status"] == "failed"
    assert words in finished["message"]
    assert outcome(workspace)["exit_code"] == code
    assert set(stage_events(workspace, "stage_started")) <= {"build", "fails"}
    line = job.process.stderr.read()
    assert line.startswith("ecgconsole: ")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\x07" not in line
    if how == "bug":
        assert "Traceback" in workspace.run("0001").engine_log.read_text()


@pytest.mark.parametrize("name", ["SIGINT", "SIGUSR1", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_one_signal_stops_at_a_unit_and_the_same_command_continues(start, workspace, name):
    job = start("json", "build", plan={"units": 200, "unit_seconds": 0.05})
    job.seen("chunk", number=2)
    job.process.send_signal(getattr(signal, name))
    assert job.wait() == 130
    last = outcome(workspace)
    assert (last["status"], last["stopped_by"]) == ("stopped", "request")
    assert "saved: " in job.process.stderr.read()
    done = max(e["number"] for e in events_of(workspace) if e["kind"] == "chunk")

    (workspace.folder / "plan.json").write_text(json.dumps({"units": done + 2}))
    assert start("json", "build").wait() == 0
    assert [e["number"] for e in events_of(workspace) if e["kind"] == "chunk"] == [done + 1, done + 2]


def test_a_signal_to_every_process_of_the_job_is_a_staged_stop_too(start, workspace):
    """As SLURM, at the time limit, and systemd send it."""
    job = start("json", "build", plan={"units": 200, "unit_seconds": 0.05})
    job.seen("chunk", number=2)
    for process in [job.process, *job.descendants()]:
        process.send_signal(signal.SIGTERM)
    assert job.wait() == 130
    assert outcome(workspace)["stopped_by"] == "request"
    assert "saved: " in outcome(workspace)["message"]


def test_two_signals_stop_now(start, workspace):
    job = start("json", "ignores_request")
    job.seen("progress")
    job.process.send_signal(signal.SIGINT)
    job.seen("control", action="stop")
    job.process.send_signal(signal.SIGINT)
    assert job.wait() == 130
    assert outcome(workspace)["stopped_by"] == "terminate"


def test_hangup_is_ignored(start, workspace):
    job = start("json", "build", plan={"units": 10, "unit_seconds": 0.05})
    job.seen("chunk")
    job.process.send_signal(signal.SIGHUP)
    assert job.wait() == 0


@pytest.mark.parametrize(
    ("stage", "rung"), [("build", "request"), ("ignores_request", "terminate"), ("ignores_everything", "kill")]
)
def test_each_rung_of_the_stop_ladder(start, workspace, stage, rung):
    waits = ("job.stop_seconds=1", "job.terminate_seconds=1")
    job = start("json", stage, *waits, plan={"units": 1000, "unit_seconds": 0.05})
    job.seen("progress")
    request(workspace, "stop")
    assert job.wait() == 130
    assert outcome(workspace)["stopped_by"] == rung
    assert read_snapshot(workspace).stopped_by == rung
    assert ours(workspace) == []


def test_nothing_of_ours_is_alive_after_a_stop(start, workspace):
    job = start("json", "with_children", "job.stop_seconds=1", "job.terminate_seconds=1")
    stubborn = job.seen("children")["pid"]
    family = job.descendants()
    assert len(family) >= 4  # guard, engine, a child with a session of its own, an adopted orphan
    request(workspace, "stop")
    assert job.wait() == 130
    assert not psutil.pid_exists(stubborn)
    assert [p for p in family if p.is_running()] == []


def test_nothing_of_ours_survives_a_killed_runner(start, workspace):
    job = start("json", "with_children")
    job.seen("children")
    family = job.descendants()
    assert len(family) >= 4
    job.process.kill()
    job.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert ours(workspace) == []
    lost = read_snapshot(workspace)
    assert (lost.status, lost.alive) == ("lost", False)
    with pytest.raises(EcgConsoleError, match="is lost"):
        request(workspace, "stop")
    assert start("json", "build", plan={}).wait() == 0  # the stale lock is taken over
    assert read_snapshot(workspace).status == "done"
    assert read_snapshot(workspace, lost.run_id).status == "lost"


def test_a_killed_runner_and_guard_leave_nothing_either(start, workspace):
    """Both killed at once: the engine dies with its parent, and the next run ends the rest."""
    job = start("json", "with_children")
    job.seen("children")
    family = job.descendants()
    guard = next(p for p in family if "ecgconsole.jobs.guard" in p.cmdline())
    guard.kill()
    job.process.kill()
    job.wait()
    assert start("json", "build", plan={}).wait() == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_killed_engine_fails_the_stage_and_the_same_command_resumes(start, workspace):
    job = start("json", "build", plan={"units": 40, "unit_seconds": 0.05})
    job.seen("chunk", number=2)
    engine = next(p for p in job.descendants() if "ecgconsole.jobs.engine" in p.cmdline())
    engine.kill()
    assert job.wait() == 1
    assert "SIGKILL" in outcome(workspace)["message"]
    assert start("json", "build").wait() == 0
    chunks = [e["number"] for e in events_of(workspace) if e["kind"] == "chunk"]
    assert chunks[0] in (3, 4, 5)
    assert chunks[-1] == 40
    assert "build" in read_records(workspace)


def test_an_engine_that_has_finished_but_does_not_end_is_ended(start, workspace):
    job = start("json", "lingers", "job.terminate_seconds=1")
    assert job.wait() == 0
    assert stage_events(workspace, "stage_finished")["lingers"]["result"] == {"segments": 1}
    assert ours(workspace) == []


def test_a_closed_stdout_neither_stalls_nor_ends_the_job(start, workspace):
    job = start("json", "chatty", plan={"count": 3000})
    job.process.stdout.readline()
    job.process.stdout.close()  # as `| head -1` does
    job.process.stdout = None
    assert job.wait() == 0
    assert kinds(events_of(workspace)).count("warning") == 3000


@pytest.mark.parametrize(
    "output", ["json", pytest.param("plain", marks=pytest.mark.slow), pytest.param("rich", marks=pytest.mark.slow)]
)
def test_a_stdout_that_nobody_reads_does_not_stall_the_job(start, workspace, output):
    job = start(output, "chatty,build", plan={"count": 3000})
    job.seen("run_finished")  # while the pipe is full
    assert job.wait() == 0
    assert kinds(events_of(workspace)).count("warning") == 3000


def test_a_descriptor_that_is_not_open_is_not_written_to(start, workspace):
    job = start("plain", "build", preexec_fn=lambda: os.close(1), stdout=None)
    assert job.wait() == 0
    assert kinds(events_of(workspace))[-1] == "run_finished"


def test_a_second_job_is_refused_and_told_who_holds_the_folder(start, workspace):
    first = start("json", "build", plan={"units": 100, "unit_seconds": 0.05})
    first.seen("chunk")
    second = start("json", "build")
    assert second.wait() == 5
    said = second.process.stderr.read()
    assert f"process {first.process.pid} on " in said
    assert "run 0001" in said
    assert workspace.run_ids() == ["0001"]
    request(workspace, "stop-now")
    assert first.wait() == 130


def test_pause_and_resume_at_a_unit(start, workspace):
    job = start("json", "build", plan={"units": 60, "unit_seconds": 0.05})
    job.seen("chunk", number=2)
    request(workspace, "pause")
    job.seen("control", action="pause")
    wait_for(lambda: read_snapshot(workspace).status == "paused", "status paused")
    at_rest = wait_for(lambda: _unchanged(workspace), "no more units")
    assert at_rest < 60
    request(workspace, "resume")
    assert job.wait() == 0
    assert len([e for e in events_of(workspace) if e["kind"] == "chunk"]) == 60


def _unchanged(workspace) -> int | None:
    import time

    before = kinds(events_of(workspace)).count("chunk")
    time.sleep(0.4)
    return before if kinds(events_of(workspace)).count("chunk") == before else None


def test_a_paused_job_can_be_stopped(start, workspace):
    job = start("json", "build", plan={"units": 60, "unit_seconds": 0.05})
    job.seen("chunk")
    request(workspace, "pause")
    wait_for(lambda: read_snapshot(workspace).status == "paused", "status paused")
    request(workspace, "stop")
    assert job.wait() == 130
    assert outcome(workspace)["stopped_by"] == "request"


def test_a_command_file_with_rubbish_in_it_is_no_command(start, workspace):
    job = start("json", "build", plan={"units": 30, "unit_seconds": 0.05})
    job.seen("chunk")
    with workspace.run("0001").control.open("a") as control:
        control.write('{"action": "dance"}\n[1]\n{"action": "st')
    request(workspace, "stop")
    assert job.wait() == 130


def test_gauges_have_their_own_file_and_numbers(start, workspace):
    assert start("json", "build", "job.gauge_seconds=0.2", plan={"units": 20, "unit_seconds": 0.05}).wait() == 0
    gauges = [json.loads(line) for line in workspace.run("0001").gauges.read_text().splitlines()]
    assert [g["seq"] for g in gauges] == list(range(len(gauges)))
    assert len(gauges) >= 3
    assert gauges[-1]["job_rss_bytes"] > 1e6
    assert gauges[-1]["disk_free_bytes"] > 0
    assert isinstance(gauges[-1]["gpus"], list)
    assert "cpu_percent" not in workspace.run("0001").events.read_text()


def test_a_disk_that_takes_no_more_events_ends_the_job_with_code_4(start, workspace):
    limit = 40_000  # bytes a file of this process may have: what a quota does

    def no_big_files() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    job = start("json", "chatty", plan={"count": 3000}, preexec_fn=no_big_files, stdout=subprocess.DEVNULL)
    assert job.wait() == 4
    assert "events.jsonl" in job.process.stderr.read()
    events = events_of(workspace)
    assert [e["seq"] for e in events] == list(range(len(events)))
    assert read_snapshot(workspace).exit_code == 4
    assert ours(workspace) == []


def test_no_patient_or_machine_path_is_needed_to_see_the_state(start, workspace):
    assert start("json", "build").wait() == 0
    state = json.loads(workspace.run("0001").state.read_text())
    assert set(state["process"]) == {"host", "boot_id", "pid", "start"}
    assert state["snapshot"]["status"] == "done"
    assert len(state["config_sha256"]) == 64
    assert Path(workspace.config).read_bytes() == workspace.run("0001").config.read_bytes()
