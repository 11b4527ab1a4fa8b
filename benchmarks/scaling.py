"""How time and memory of a build grow with patients, hours and workers; prints the table of ``docs/cluster.md``.

usage: benchmarks/scaling.py [--cohorts DIR]

Synthetic cohorts (made in DIR, or taken from it where they are) are built by ``ecgconsole build`` with every window
kept, so that segments grow with patients and hours alike. Memory is what the system says of each process, looked at
ten times a second: the process that schedules, and the largest worker (resident, shared libraries included). Processor
seconds are of all processes together: unlike the clock's, they hold on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from ecgconsole.synth import synthesise

EVERY_S = 0.1


class Size(NamedTuple):
    patients: int
    hours: float
    workers: int


# Patients, then hours, then workers, each alone.
SIZES = (
    Size(20, 0.5, 1),
    Size(60, 0.5, 1),
    Size(180, 0.5, 1),
    Size(60, 1.5, 1),
    Size(60, 4.5, 1),
    Size(60, 1.5, 2),
    Size(60, 4.5, 2),
)


class Cost(NamedTuple):
    """``build_s``: from the first recording to the last byte, by the build's own clock."""

    segments: int
    outside_s: float
    build_s: float
    cpu_s: float
    scheduler_bytes: int
    worker_bytes: int
    file_bytes: int


def measured(size: Size, cohorts: Path, output: Path) -> Cost:
    cohort = cohorts / f"{size.patients} by {size.hours:g}"
    if not (cohort / "synth.json").exists():
        synthesise(cohort, patients=size.patients, hours=size.hours, seed=1, workers=2)
    settings = (
        f"data.waveform_dir={cohort / 'waveforms'}",
        f"build.num_workers={size.workers}",
        "build.min_segments_per_patient=1",
        "build.max_segments_per_patient=null",
    )
    command = [sys.executable, "-m", "ecgconsole", "build", "-o", str(output), "--output", "json"]
    command += [a for s in settings for a in ("--set", s)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        peaks = {"scheduler": 0, "worker": 0}
        cpu_s: dict[int, float] = {}
        watcher = threading.Thread(target=_watch, args=(process, peaks, cpu_s), daemon=True)
        watcher.start()
        out, error = process.communicate()
        watcher.join()
    outside = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"the build of {size} ended with {process.returncode}: {error}")
    finished = next(e for e in map(json.loads, out.splitlines()) if e["kind"] == "stage_finished")
    result = finished["result"]
    return Cost(
        segments=result["segments"],
        outside_s=outside,
        build_s=finished["seconds"],
        cpu_s=sum(cpu_s.values()),
        scheduler_bytes=peaks["scheduler"],
        worker_bytes=peaks["worker"],
        file_bytes=int(result["bytes"]),
    )


def _watch(process: subprocess.Popen[str], peaks: dict[str, int], cpu_s: dict[int, float]) -> None:
    """The runner starts the engine, which schedules; the engine starts workers, through a server."""
    runner = psutil.Process(process.pid)
    while process.poll() is None:
        for engine in _children(runner):
            _note(peaks, cpu_s, "scheduler", engine)
            for worker in _children(engine, recursive=True):
                _note(peaks, cpu_s, "worker", worker)
        time.sleep(EVERY_S)


def _children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    try:
        return process.children(recursive)
    except psutil.NoSuchProcess:
        return []


def _note(peaks: dict[str, int], cpu_s: dict[int, float], role: str, process: psutil.Process) -> None:
    try:
        times = process.cpu_times()
        cpu_s[process.pid] = times.user + times.system
        peaks[role] = max(peaks[role], process.memory_info().rss)
    except psutil.NoSuchProcess:
        return  # it ended between two looks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cohorts", type=Path)
    arguments = parser.parse_args()
    of_size, of_cost = "patients | hours each | workers | segments", "s, outside | s, build | processor s"
    print(f"| {of_size} | {of_cost} | scheduler | largest worker | file |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    found: list[tuple[Size, Cost]] = []
    with tempfile.TemporaryDirectory() as folder:
        for n, size in enumerate(SIZES):
            cost = measured(size, arguments.cohorts or Path(folder), Path(folder) / f"out {n}")
            found.append((size, cost))
            memory = f"{cost.scheduler_bytes / 1e6:.0f} MB | {cost.worker_bytes / 1e6:.0f} MB"
            times = f"{cost.outside_s:.1f} | {cost.build_s:.1f} | {cost.cpu_s:.1f}"
            row = f"| {size.patients} | {size.hours:g} | {size.workers} | {cost.segments:,} | {times} | {memory} |"
            print(f"{row} {cost.file_bytes / 1e6:.1f} MB |", flush=True)
    alone = [(c.segments, c.cpu_s) for s, c in found if s.workers == 1]
    segments, seconds = np.array(alone).T
    # Seconds = start + segments x cost, least squares of the relative error.
    weighted = np.stack([1 / seconds, segments / seconds], axis=1)
    (start_s, each_s), *_ = np.linalg.lstsq(weighted, np.ones(len(seconds)), rcond=None)
    per_core = f"{1e6 * each_s:.0f} us a segment ({1 / each_s:,.0f} segments/s a core)"
    print(f"\none worker, processor time: {start_s:.1f} s to start and {per_core}")
    last = {s.workers: c for s, c in found if (s.patients, s.hours) == (SIZES[-1].patients, SIZES[-1].hours)}
    print(f"two workers: {last[1].build_s / last[2].build_s:.2f} times as fast")
    spread = [c.scheduler_bytes / 1e6 for _, c in found]
    most = max(c.segments for _, c in found) // min(c.segments for _, c in found)
    print(f"scheduler: {min(spread):.0f} to {max(spread):.0f} MB, with {most} times the segments")
    print(f"file: {sum(c.file_bytes for _, c in found) / sum(c.segments for _, c in found):,.0f} bytes a segment")


if __name__ == "__main__":
    main()
