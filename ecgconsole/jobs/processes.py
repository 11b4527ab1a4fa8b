"""Processes of ours: which one is meant, whether it lives, and how none is left behind.

Every engine gets a random marker in its environment, which all its descendants inherit. A process
whose parent died, or that made a session of its own (as torchrun's workers do), still has it, so
whoever knows the marker can end all of them. A pid alone says little: it is reused, so it always
comes with the process's start time, the machine's boot id and the host name.

On Linux /proc is read directly: in a tenth of psutil's time, and without what there is to import of it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

MARKER_VARIABLE = "ECGCONSOLE_JOB"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of one boot of one machine. ``start`` is opaque: ticks since boot on Linux."""

    host: str
    boot_id: str
    pid: int
    start: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> ProcessIdentity | None:
        """None when the record is incomplete or not of this kind."""
        try:
            return ProcessIdentity(str(data["host"]), str(data["boot_id"]), int(data["pid"]), str(data["start"]))
        except (KeyError, TypeError, ValueError):
            return None


def this_process() -> ProcessIdentity:
    return ProcessIdentity(host_name(), boot_id(), os.getpid(), start_of(os.getpid()) or "")


def is_alive(process: ProcessIdentity) -> bool | None:
    """Whether that very process lives; None when it is on another host and cannot be known."""
    if process.host != host_name():
        return None
    return process.boot_id == boot_id() and start_of(process.pid) == process.start


def host_name() -> str:
    return socket.gethostname()


@cache
def boot_id() -> str:
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    import psutil

    return str(round(psutil.boot_time()))


def start_of(pid: int) -> str | None:
    """When the process started, or None when there is no such process (a zombie is none)."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the command name before may hold anything
        return None if fields[0] in "ZX" else fields[19]
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def adopt_orphans() -> None:
    """Makes this process the parent of its orphaned descendants, so that it can end and reap them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL for this process when its parent dies (Linux; elsewhere the pipes tell)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(1)


def leave(code: int) -> NoReturn:
    """Ends this process without taking the interpreter apart, which costs up to a tenth of a second.

    For a process whose work is written and that waits for no thread.
    """
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed from the start
                stream.flush()
    except OSError:
        sys.exit(code)  # what cannot be written is Python's to tell
    os._exit(code)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def new_marker() -> str:
    """For one run: its engine's, and all that come from it."""
    return os.urandom(16).hex()


def marked(marker: str) -> list[int]:
    """Pids of the living processes with this marker, this one left out."""
    found = []
    for pid in _pids():
        if pid != os.getpid() and f"{MARKER_VARIABLE}={marker}" in _environment_of(pid):
            found.append(pid)
    return found


def terminate_session(marker: str, session: int) -> None:
    """SIGTERM to the marked processes of one session, but not to its leader."""
    for pid in marked(marker):
        try:
            if pid != session and os.getsid(pid) == session:
                os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue


def kill_marked(marker: str, seconds: float = 10.0) -> list[int]:
    """SIGKILL to all processes with this marker, until none is left; returns pids that would not die."""
    deadline = time.monotonic() + seconds
    while True:
        pids = marked(marker)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not pids or time.monotonic() > deadline:
            return pids
        time.sleep(0.01)


def _pids() -> list[int]:
    if sys.platform == "linux":
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return list(psutil.pids())


def _environment_of(pid: int) -> list[str]:
    """``NAME=value`` of a process; empty where it is another user's, a zombie or gone."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
        except OSError:
            return []
    import psutil

    try:
        process = psutil.Process(pid)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return [] if is_zombie else [f"{name}={value}" for name, value in process.environ().items()]
    except psutil.Error:
        return []


def reap_orphans(keep: Collection[int]) -> None:
    """Collects adopted children that have ended; ``keep`` are children that someone else waits for."""
    import psutil

    for child in psutil.Process().children():
        if child.pid in keep:
            continue
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            continue
