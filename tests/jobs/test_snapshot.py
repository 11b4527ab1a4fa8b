from __future__ import annotations

import json
import os
import time
from dataclasses import replace

from ecgconsole.jobs.events import EventWriter
from ecgconsole.jobs.processes import this_process
from ecgconsole.jobs.snapshot import Snapshot, fold
from ecgconsole.jobs.state import fold_file, read_snapshot, write_state
from ecgconsole.jobs.summary import summary_lines
from ecgconsole.workspace import Workspace


def events(*fields):
    times = [f"2026-11-24T10:00:{n:02d}.000Z" for n in range(len(fields))]
    return [{"seq": n, "time": times[n], "stage": None, **f} for n, f in enumerate(fields)]


STORY = events(
    {"kind": "run_started", "run_id": "0001", "stages": ["build", "train"], "pid": 1, "host": "h"},
    {"kind": "stage_started", "stage": "build"},
    {"kind": "progress", "stage": "build", "done": 3, "total": 12, "unit": "patients", "rate": 1.5,
     "remaining_seconds": 6.0},
    {"kind": "chunk", "stage": "build", "number": 1, "patients": 3, "segments": 30, "rejected": {"noise": 4},
     "bytes": 100, "seconds": 1},
    {"kind": "warning", "stage": "build", "code": "c", "message": "m", "hint": "h"},
    {"kind": "stage_finished", "stage": "build", "status": "done", "seconds": 5.0, "result": {"segments": 30}},
    {"kind": "stage_started", "stage": "train"},
    {"kind": "metric", "stage": "train", "step": 1, "epoch": 0, "values": {"train_loss": 3.0, "val_loss": 4.0}},
    {"kind": "metric", "stage": "train", "step": 2, "epoch": 0, "values": {"train_loss": 2.0, "grad_norm": None}},
    {"kind": "control", "stage": "train", "action": "pause", "by": "x"},
)  # fmt: skip


def folded(story):
    snapshot = Snapshot()
    for event in story:
        snapshot = fold(snapshot, event)
    return snapshot


def test_a_fold_tells_the_story():
    snapshot = folded(STORY)
    build, train = snapshot.stages
    assert (build.status, build.done, build.total, build.share, build.seconds) == ("done", 3, 12, 0.25, 5.0)
    assert build.result == {"segments": 30}
    assert snapshot.stage is train
    assert snapshot.status == "paused"
    assert snapshot.metric["values"] == {"train_loss": 2.0, "val_loss": 4.0, "grad_norm": None}
    assert (snapshot.warning_count, snapshot.warnings[0]["code"]) == (1, "c")
    assert snapshot.next_seq == len(STORY)


def test_folding_an_event_again_changes_nothing():
    once = folded(STORY)
    assert folded([e for e in STORY for _ in (0, 1)]) == once
    for event in STORY:
        assert fold(once, event) == once


def test_a_snapshot_survives_json():
    snapshot = folded(STORY)
    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot
    assert Snapshot.from_json({**snapshot.to_json(), "from_a_later_version": 1}) == snapshot


def test_a_stop_is_not_undone_by_a_resume():
    later = [{"seq": 10, "kind": "control", "action": "stop"}, {"seq": 11, "kind": "control", "action": "resume"}]
    assert folded([*STORY, *later]).status == "stopping"


def test_no_run_has_no_snapshot(tmp_path):
    assert read_snapshot(Workspace(tmp_path)) is None
    assert read_snapshot(Workspace(tmp_path), "0001") is None


def test_a_state_that_cannot_be_read_is_made_again_from_the_events(tmp_path):
    run = Workspace(tmp_path).new_run()
    writer = EventWriter(run.events)
    for event in STORY:
        writer.write({k: v for k, v in event.items() if k not in ("seq", "time")})
    for content in (None, "", "{}", "[1]", '{"snapshot": {"stages": 3}}'):
        if content is not None:
            run.state.write_text(content)
        snapshot = read_snapshot(Workspace(tmp_path))
        assert (snapshot.status, snapshot.alive) == ("paused", True)  # its last event is younger than a minute
        assert snapshot.stages == fold_file(run.events).stages
        assert len(snapshot.stages) == 2


def test_liveness_is_pid_start_time_and_boot_on_this_host_and_heartbeat_elsewhere(tmp_path):
    workspace = Workspace(tmp_path)
    run, snapshot, me = workspace.new_run(), folded(STORY), this_process()

    def status_of(process, **changes):
        write_state(run.state, process, {}, snapshot)
        if changes:
            run.state.write_text(json.dumps({**json.loads(run.state.read_text()), **changes}))
        found = read_snapshot(workspace)
        return found.status, found.alive

    assert status_of(me) == ("paused", True)
    assert status_of(replace(me, start="1")) == ("lost", False)
    assert status_of(replace(me, boot_id="other")) == ("lost", False)
    assert status_of(replace(me, host="node17")) == ("paused", True)
    assert status_of(replace(me, host="node17"), heartbeat="2020-01-01T00:00:00.000Z") == ("lost", False)


def test_a_reader_never_sees_half_a_state(tmp_path):
    run, me, snapshot = Workspace(tmp_path).new_run(), this_process(), folded(STORY)
    write_state(run.state, me, {}, snapshot)
    pid = os.fork()
    if pid == 0:
        for _ in range(300):
            write_state(run.state, me, {}, snapshot)
        os._exit(0)
    reads = 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        json.loads(run.state.read_text())
        reads += 1
        time.sleep(0)
    assert reads > 0


def test_status_lines_name_the_numbers_and_are_sanitised():
    evil = {**STORY[4], "seq": 10, "message": "\x1b]52;c;evil\x07text [bold]x"}
    lines = list(summary_lines(fold(folded(STORY), evil)))
    text = "\n".join(lines)
    assert "build     done in 5 s: 30 segments" in text
    assert "train_loss 2" in text
    assert "text [bold]x" in text
    assert "\x1b" not in text
    assert "(and 1 earlier)" in text


def test_status_lines_of_a_lost_run_say_how_far_it_came_and_promise_nothing():
    running = folded(STORY[:3])
    alive = list(summary_lines(replace(running, alive=True)))
    assert any(line.startswith("● build     running for ") and "1.5 patients/s, 6 s left" in line for line in alive)
    lost = replace(running, alive=False, status="lost", heartbeat="2026-11-24T10:00:08.000Z")
    assert "✖ build     ran for 7 s, 3 of 12 patients (25 %)" in list(summary_lines(lost))
