"""The processes of a job on this machine, as a tree."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from ecgconsole.console.rows import Row
from ecgconsole.jobs.processes import host_name
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.text import sanitise, size


@dataclass(frozen=True)
class Line:
    """One process; ``depth`` 0 is the runner, ``cpu_s`` all that it has used."""

    depth: int
    pid: int
    name: str
    cpu_s: float
    rss_bytes: int


def tree(pid: int) -> list[Line]:
    """The process and all below it, each parent before its children; [] when it is gone."""
    lines: list[Line] = []

    def add(process: psutil.Process, depth: int, above: str = "") -> None:
        try:
            with process.oneshot():
                times = process.cpu_times()
                name = "worker" if above == "fork server" else _what(process.cmdline()) or process.name()
                lines.append(Line(depth, process.pid, name, times.user + times.system, process.memory_info().rss))
            children = process.children()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return
        for child in sorted(children, key=lambda c: c.pid):
            add(child, depth + 1, name)

    try:
        add(psutil.Process(pid), 0)
    except psutil.NoSuchProcess:
        return []
    return lines


def tree_rows(snapshot: Snapshot | None, before: dict[int, float], seconds: float) -> list[Row]:
    """The job's tree with the processor time of each since ``before`` (pid to seconds, carried on)."""
    if snapshot is None or not snapshot.alive or snapshot.pid is None:
        return [[("no job runs here", "muted")]]
    if snapshot.host != host_name():
        return [[(f"the job runs on {sanitise(snapshot.host, 60)}: its processes can be seen there", "muted")]]
    lines = tree(snapshot.pid)
    rows: list[Row] = [[(f"{'pid':>8}  {'CPU':>6}  {'memory':>8}  process", "muted")]]
    for line in lines:
        used = line.cpu_s - before.get(line.pid, line.cpu_s)
        cpu = f"{100 * used / seconds:.0f} %" if seconds > 0 and line.pid in before else "–"
        branch = "   " * (line.depth - 1) + "└─ " if line.depth else ""
        rows.append(
            [
                (f"{line.pid:>8}  {cpu:>6}  {size(line.rss_bytes):>8}  ", "plain"),
                (branch, "muted"),
                (line.name, "strong"),
            ]
        )
    before.clear()
    before.update({line.pid: line.cpu_s for line in lines})
    return rows if lines else [[("its processes are gone", "muted")]]


def _what(command: list[str]) -> str:
    """``ecgconsole run``, ``engine train``, ``worker``: what a person calls it, without paths."""
    text = " ".join(command)
    for mark, name in (
        ("ecgconsole.jobs.guard", "guard"),
        ("resource_tracker", "resource tracker"),
        ("ecgconsole.jobs.engine", "engine"),
        ("forkserver", "fork server"),
        ("spawn_main", "worker"),
    ):
        if mark in text:
            stage = text.partition("ecgconsole.jobs.engine ")[2].partition(" ")[0]
            return f"{name} {stage}" if stage else name
    if "ecgconsole" in text and " run" in text:
        return "runner"
    return ""
