from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading

import pytest
from job_harness import wait_for

from ecgconsole.errors import FolderBusy, MachineError
from ecgconsole.jobs import lock as lock_module
from ecgconsole.jobs.lock import FolderLock, busy_message
from ecgconsole.jobs.processes import MARKER_VARIABLE, start_of, this_process


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "job.lock"


@pytest.fixture
def without_flock(monkeypatch):
    def unsupported(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    monkeypatch.setattr(lock_module, "SETTLE_SECONDS", 0.2)


def record(path, **changes):
    """What a job wrote into the lock."""
    process = {**this_process().to_json(), **changes}
    path.parent.mkdir(exist_ok=True)
    holder = {"token": "t", "process": process, "run_id": "0003", "since": "2026-11-24T10:00:00Z", "argv": []}
    path.write_text(json.dumps(holder) + "\n")


def test_a_held_lock_refuses_and_names_its_holder(path):
    held = FolderLock(path, ["x"], "m")
    held.name_run("0007")
    with pytest.raises(FolderBusy, match=rf"run 0007, process {os.getpid()} on ") as refused:
        FolderLock(path, [], "m2")
    assert refused.value.exit_code == 5
    held.release()
    FolderLock(path, [], "m3").release()
    assert path.read_bytes() == b""


def test_without_flock_the_record_alone_refuses(path, without_flock):
    held = FolderLock(path, [], "m")
    with pytest.raises(FolderBusy, match=f"process {os.getpid()}"):
        FolderLock(path, [], "m2")
    held.release()
    FolderLock(path, [], "m3").release()


def test_without_flock_one_of_two_at_the_same_moment_gets_it(path, without_flock):
    got: list[FolderLock] = []
    refused: list[FolderBusy] = []
    both = threading.Barrier(2)
    read = lock_module._read

    def take() -> None:
        try:
            got.append(FolderLock(path, [], "m"))
        except FolderBusy as error:
            refused.append(error)

    def read_together(at):
        holder = read(at)
        if not both.broken:
            try:
                both.wait(1)
            except threading.BrokenBarrierError:
                return holder
        return holder

    lock_module._read, threads = read_together, [threading.Thread(target=take) for _ in range(2)]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        lock_module._read = read
    assert (len(got), len(refused)) == (1, 1)
    got[0].release()


@pytest.mark.parametrize(
    "changes",
    [
        {"boot_id": "another boot"},
        {"pid": 2**22 - 1},
        {"start": "1"},  # the pid lives, but is another process
    ],
    ids=["reboot", "dead", "pid reused"],
)
def test_a_stale_lock_is_taken_over_at_once(path, changes):
    record(path, **changes)
    FolderLock(path, [], "m").release()


def test_another_host_holds_it_while_its_heart_beats(path, monkeypatch):
    monkeypatch.setattr(lock_module, "SETTLE_SECONDS", 0.0)
    record(path, host="node17")
    with pytest.raises(FolderBusy, match="on node17"):
        FolderLock(path, [], "m")
    now = path.stat().st_mtime
    os.utime(path, (now - 61, now - 61))
    FolderLock(path, [], "m").release()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\x00\x00\xff", b"null"])
def test_a_damaged_record_is_no_holder(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    FolderLock(path, [], "m").release()


def test_a_record_of_another_version_is_respected_while_its_heart_beats(path):
    path.parent.mkdir()
    path.write_bytes(b'{"owner": "ecgconsole 9"}')
    with pytest.raises(FolderBusy, match="a process"):
        FolderLock(path, [], "m")
    os.utime(path, (1, 1))
    FolderLock(path, [], "m").release()


def test_a_holder_notices_that_another_has_taken_it(path, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    held = FolderLock(path, [], "m")
    record(path, host="node17")
    wait_for(held.lost.is_set, "lost")
    held.release()
    assert json.loads(path.read_text())["process"]["host"] == "node17"


def test_taking_over_ends_what_the_dead_job_left(path):
    left = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARKER_VARIABLE: "dead-job"}
    )
    wait_for(lambda: start_of(left.pid), "started")
    record(path, pid=2**22 - 1)
    holder = json.loads(path.read_text())
    path.write_text(json.dumps({**holder, "marker": "dead-job"}))
    FolderLock(path, [], "m").release()
    assert left.wait(10) == -9


def test_a_folder_that_cannot_be_written_is_the_machines_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot write in the output folder"):
        FolderLock(tmp_path / "file" / "job.lock", [], "m")


def test_texts_from_the_record_are_sanitised(path):
    record(path, host="\x1b]52;c;evil\x07node")
    said = busy_message(path, json.loads(path.read_text()))
    assert "\x1b" not in said
    assert "on node" in said
