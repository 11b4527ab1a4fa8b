"""Writes are whole or absent, whatever kills the writer."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from ecgconsole.workspace import Workspace, replacing, sweep_partial, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = """
        import os, signal, sys
        from pathlib import Path
        from ecgconsole.workspace import replacing
        with replacing(Path(sys.argv[1])) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    sweep_partial(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_runs_count_up_and_sort_as_numbers(tmp_path):
    workspace = Workspace(tmp_path)
    assert [workspace.new_run().run_id for _ in range(11)][-1] == "0011"
    (tmp_path / "runs" / "notes").mkdir()
    assert workspace.run_ids()[0] == "0001"
    assert len(workspace.run_ids()) == 11


def test_the_salt_stays(tmp_path):
    assert Workspace(tmp_path).salt() == Workspace(tmp_path).salt()
    assert len(Workspace(tmp_path).salt()) == 16


def test_a_path_with_spaces_and_a_long_name_is_fine(tmp_path):
    path = tmp_path / ("a folder with spaces " * 5) / "file"
    write_atomically(path, "x")
    assert path.read_text() == "x"
