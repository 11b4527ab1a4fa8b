"""One job at a time on an output folder, on one machine or on several that share the disk.

Where ``flock`` works it decides. Some network disks do not have it, or have it for one machine only,
so the lock file also holds a record of its holder, and its modification time is the holder's heartbeat.
A record is stale when its process is gone (pid with start time and boot id), or, from another host,
when the heartbeat is older than a minute; a stale lock is taken over. The holder reads the record back
with every heartbeat: should another have taken the lock, it stops.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ecgconsole.errors import FolderBusy, MachineError
from ecgconsole.jobs.events import utc_now
from ecgconsole.jobs.processes import ProcessIdentity, host_name, is_alive, kill_marked, this_process
from ecgconsole.text import duration, sanitise

HEARTBEAT_SECONDS = 2.0
STALE_SECONDS = 60.0
SETTLE_SECONDS = 2.0  # two takers without flock: both have written by then, and the last one has it
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class FolderLock:
    """Held from construction to ``release``. ``lost`` is set if another host has taken it meanwhile."""

    def __init__(self, path: Path, argv: list[str], marker: str) -> None:
        """Raises ``FolderBusy`` naming the holder, ``MachineError`` where no file can be made."""
        self.path = path
        self.lost = threading.Event()
        self._record = {
            "token": secrets.token_hex(8),
            "process": this_process().to_json(),
            "run_id": None,
            "since": utc_now(),
            "argv": argv,
            "marker": marker,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MachineError(
                f"cannot write in the output folder {path.parent}: {error.strerror}. "
                "Give another with -o, or make this one writable."
            ) from error
        try:
            self._take()
        except BaseException:
            os.close(self._fd)
            raise
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock heartbeat", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        exclusive = self._flock()
        holder = _read(self.path)
        if holder and holder_lives(self.path, holder):
            raise FolderBusy(busy_message(self.path, holder))
        self._write()
        process = ProcessIdentity.from_json(holder.get("process")) if holder else None
        if not exclusive or (process and process.host != host_name()):
            time.sleep(SETTLE_SECONDS)
            if not self._is_mine():
                raise FolderBusy(busy_message(self.path, _read(self.path)))
        if holder and process and process.host == host_name() and holder.get("marker"):
            kill_marked(str(holder["marker"]))  # nothing of a dead job may write beside this one

    def _flock(self) -> bool:
        """False where flock is not supported."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise FolderBusy(busy_message(self.path, _read(self.path))) from error
            if error.errno in _NO_FLOCK:
                return False
            raise MachineError(f"cannot lock {self.path}: {error.strerror}") from error

    def name_run(self, run_id: str) -> None:
        self._record["run_id"] = run_id
        self._write()

    def release(self) -> None:
        """Gives the lock back, unless another has it already."""
        self._stop.set()
        self._thread.join()
        if self._is_mine():
            os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def _write(self) -> None:
        """In place: replacing the file would leave the flock on an inode that nobody looks at."""
        data = json.dumps(self._record).encode() + b"\n"
        try:
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))
        except OSError as error:
            raise MachineError(f"cannot write {self.path}: {error.strerror}") from error

    def _is_mine(self) -> bool:
        holder = _read(self.path)
        return holder is not None and holder.get("token") == self._record["token"]

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self._fd)
                if not self._is_mine():
                    self.lost.set()
                    return
            except OSError:
                continue  # a disk that comes back: the next beat tells


def holder_lives(path: Path, holder: dict[str, Any]) -> bool:
    """Whether the holder in a lock's record still runs."""
    process = ProcessIdentity.from_json(holder.get("process"))
    alive = is_alive(process) if process else None
    return heartbeat_age_s(path) < STALE_SECONDS if alive is None else alive


def heartbeat_age_s(path: Path) -> float:
    """Seconds since the file's modification, by the disk's own clock where a file can be made there."""
    try:
        beat = path.stat().st_mtime
    except OSError:
        return float("inf")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock.", suffix=".partial") as probe:
            now = os.fstat(probe.fileno()).st_mtime
    except OSError:
        now = time.time()
    return now - beat


def busy_message(path: Path, holder: dict[str, Any] | None) -> str:
    where = path.parent
    if holder is None:
        return f"another job holds {where}. Wait for it, or stop it: ecgconsole stop -o {where}"
    process = ProcessIdentity.from_json(holder.get("process"))
    who = f"process {process.pid} on {sanitise(process.host, 80)}" if process else "a process"
    run = f"run {sanitise(holder['run_id'], 20)}, " if holder.get("run_id") else ""
    beat = duration(heartbeat_age_s(path))
    return (
        f"another job holds {where}: {run}{who}, since {sanitise(holder.get('since'), 40)}, "
        f"last sign of life {beat} ago. Wait for it, or stop it: ecgconsole stop -o {where}"
    )


def _read(path: Path) -> dict[str, Any] | None:
    """The holder's record; None when the lock is free, {} when a writer died amid writing it."""
    for _ in range(3):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MachineError(f"cannot read {path}: {error.strerror}") from error
        if not data.strip():
            return None
        try:
            holder = json.loads(data)
        except ValueError:
            time.sleep(0.05)  # being written
            continue
        return holder if isinstance(holder, dict) else {}
    return {}
