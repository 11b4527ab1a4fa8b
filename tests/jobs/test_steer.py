"""Jobs started detached, as the console does, through the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from job_harness import wait_for

from ecgconsole.errors import ConfigurationError, EcgConsoleError, FolderBusy
from ecgconsole.jobs.lock import FolderLock
from ecgconsole.jobs.state import read_snapshot
from ecgconsole.jobs.steer import request, start_run


def arguments(workspace, *more):
    return ["run", "--no-tui", "--output", "json", "-o", str(workspace.folder), *more]


def test_a_started_run_returns_its_id_and_ends_by_itself(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    assert start_run(workspace, arguments(workspace, "--set", f"data.waveform_dir={tmp_path / 'empty'}")) == "0001"
    final = wait_for(lambda: (s := read_snapshot(workspace)) and not s.alive and s, "the end")
    assert (final.status, final.exit_code) == ("failed", 3)


def test_a_job_that_cannot_start_raises_its_own_error(workspace):
    with pytest.raises(ConfigurationError, match=r"training\.seed"):
        start_run(workspace, arguments(workspace, "--set", "training.seed=-1"))
    held = FolderLock(workspace.lock, [], "m")
    with pytest.raises(FolderBusy, match=f"process {os.getpid()}"):
        start_run(workspace, arguments(workspace))
    held.release()
    with pytest.raises(EcgConsoleError, match="no job has run"):
        request(workspace, "stop")


def test_a_job_outlives_the_terminal_and_the_process_that_started_it(workspace, tmp_path):
    """The starter has a terminal of its own, which is closed, and is then killed with its whole session."""
    cohort = tmp_path / "cohort"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "ecgconsole",
            "synth",
            str(cohort),
            "--patients",
            "3",
            "--hours",
            "0.1",
            "--workers",
            "1",
        ],
        check=True,
        capture_output=True,
    )
    setting = f"data.waveform_dir={cohort / 'waveforms'}"
    program = (
        "import sys, time; from ecgconsole.jobs.steer import start_run; from ecgconsole.workspace import Workspace;"
        f"start_run(Workspace({str(workspace.folder)!r}), sys.argv[1:]); print('started', flush=True); time.sleep(600)"
    )
    main, terminal = os.openpty()
    command = [sys.executable, "-c", program, *arguments(workspace, "--stages", "build", "--set", setting)]
    starter = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )  # fmt: skip
    os.close(terminal)
    assert b"started" in os.read(main, 1000)
    os.close(main)
    os.killpg(starter.pid, signal.SIGHUP)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    final = wait_for(lambda: (s := read_snapshot(workspace)) and not s.alive and s, "the end")
    assert (final.status, final.stages[0].status) == ("done", "done")
    assert workspace.dataset.exists()
