"""What a run is, told by its files alone."""

from __future__ import annotations

import os
import time

from ecgconsole.jobs import state
from ecgconsole.jobs.events import EventWriter
from ecgconsole.jobs.processes import this_process
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.jobs.state import read_run, running_argv, write_state
from ecgconsole.workspace import Workspace


def test_a_run_that_has_written_nothing_yet_starts_and_is_lost_only_when_it_stays_silent(tmp_path):
    run = Workspace(tmp_path).new_run()
    assert (read_run(run).status, read_run(run).alive) == ("starting", True)
    EventWriter(run.events).write({"kind": "run_started", "run_id": run.run_id, "stages": ["build"]})
    assert (read_run(run).status, read_run(run).alive) == ("running", True)
    run.events.unlink()
    long_ago = time.time() - 3600
    os.utime(run.folder, (long_ago, long_ago))
    assert (read_run(run).status, read_run(run).alive) == ("lost", False)


def test_a_run_that_ends_while_it_is_looked_at_is_not_lost(tmp_path, monkeypatch):
    run = Workspace(tmp_path).new_run()
    write_state(run.state, this_process(), {}, Snapshot(status="running"))

    def ends(process):
        write_state(run.state, process, {}, Snapshot(status="done", exit_code=0))
        return False

    monkeypatch.setattr(state, "is_alive", ends)
    assert (read_run(run).status, read_run(run).alive, read_run(run).exit_code) == ("done", False, 0)


def test_the_command_line_of_the_job_that_runs(tmp_path):
    workspace = Workspace(tmp_path)
    assert running_argv(workspace) is None
    run = workspace.new_run()
    assert running_argv(workspace) == []
    write_state(run.state, this_process(), {"argv": ["ecgconsole", "train"]}, Snapshot(status="running"))
    assert running_argv(workspace) == ["ecgconsole", "train"]
    write_state(run.state, this_process(), {"argv": ["ecgconsole", "train"]}, Snapshot(status="done"))
    assert running_argv(workspace) is None
