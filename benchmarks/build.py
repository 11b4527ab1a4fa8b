"""Segments/s of the build against a plain one on the same recordings, and where its time goes.

usage: benchmarks/build.py [--patients 60] [--hours 2] [--workers 2] [--pairs 3] [--cohort DIR]

A synthetic cohort (made, or taken from DIR where one is) is built by ``naive_build.py`` and by ``ecgconsole build`` in
turn, with the same number of worker processes, the files in the page cache. Both are timed from outside, start of the
interpreter included; beside it, by their own clocks, from the first recording to the last byte. Ours does more: every
index, every checksum, rejections with reasons, shards, a verified merge.

Then everything runs once in one process, with a CPU clock around each part; what it imports is imported before.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import scipy.fft  # noqa: F401 - workers have it from their server

import ecgconsole
from ecgconsole.config import resolve
from ecgconsole.dataset import assemble, build, segments, shards, tables
from ecgconsole.dataset.workers import REUSED_MEMORY, SINGLE_THREAD
from ecgconsole.signals import beats, quality, rhythm, windows
from ecgconsole.stage import Reporter, Stop
from ecgconsole.synth import synthesise
from ecgconsole.workspace import Workspace

# What each part is made of: functions by the name under which they are called.
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "discover": ((build, "_discovered"),),
    "read, checksums": ((windows, "read_rows"),),
    "filter": ((windows, "spectrum"), (windows, "apply_response"), (windows, "windows_of")),
    "R peaks": ((beats, "r_peaks"),),
    "pulses": ((beats, "pulses"),),
    "rhythm, templates": (
        (windows, "beats_of"), (windows, "template_correlation"), (rhythm, "rhythm"), (rhythm, "intervals"),
    ),
    "quality": tuple((quality, n) for n in ("moments", "ecg_spectrum", "ppg_spectrum", "ecg_reasons", "ppg_reasons")),
    "quantise": ((segments, "quantise"),),
    "write shards": ((shards.ShardFile, "append"), (shards.ShardFile, "finish")),
    "merge": ((assemble, "merge"),),
    "tables": ((assemble, "write_rejected"), (tables, "metadata_frame"), (tables, "features_csv")),
}  # fmt: skip


def settings(cohort: Path, workers: int) -> list[str]:
    """The build of every window, as the plain build has them."""
    return [
        f"data.waveform_dir={cohort / 'waveforms'}",
        f"build.num_workers={workers}",
        "build.min_segments_per_patient=1",
        "build.max_segments_per_patient=null",
    ]


# As in any installation: modules are compiled once, not by every process.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def naive(cohort: Path, workers: int, folder: Path) -> dict[str, float]:
    command = [sys.executable, Path(__file__).with_name("naive_build.py"), cohort, folder / "naive.h5"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--workers", str(workers)], check=True, capture_output=True, text=True, env=ENVIRONMENT
    )
    return {**json.loads(done.stdout), "outside": time.perf_counter() - began}


def ours(cohort: Path, workers: int, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "ecgconsole", "build", "-o", folder / "out", "--output", "json"]
    command += [a for s in settings(cohort, workers) for a in ("--set", s)]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    outside = time.perf_counter() - began
    (finished,) = (e for e in map(json.loads, done.stdout.splitlines()) if e["kind"] == "stage_finished")
    result = finished["result"]
    return {**{k: result[k] for k in ("segments", "bytes")}, "seconds": finished["seconds"], "outside": outside}


class Here:
    """Workers that are this very process."""

    n, deaths = 1, ()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was started."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def seconds_by_part(cohort: Path, folder: Path) -> tuple[Counter[str], float, int]:
    """CPU seconds of each of ``PARTS`` in a build by one process, of all of it, and its segments.

    A part that is called by another counts in that other alone.
    """
    spent: Counter[str] = Counter()
    inside: list[str] = []

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if inside:
                return function(*arguments, **named)
            with clock(part):
                return function(*arguments, **named)

        return call

    @contextmanager
    def clock(part: str) -> Iterator[None]:
        inside.append(part)
        began = time.process_time()
        yield
        spent[part] += time.process_time() - began
        inside.pop()

    config = resolve(overrides=settings(cohort, 1), environment={}).config
    with ExitStack() as stack:
        stack.enter_context(patch.object(build, "start_workers", lambda *_: Here()))
        for part, functions in PARTS.items():
            for owner, name in functions:
                stack.enter_context(patch.object(owner, name, timed(part, getattr(owner, name))))
        began = time.process_time()
        result = build.run(config, Workspace(folder), Reporter("build", lambda event: None), Stop())
        return spent, time.process_time() - began, result["segments"]


def read_all(folder: Path) -> int:
    """Fills the page cache; returns the bytes read."""
    return sum(len(path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--parts", action="store_true", help="only where the time goes, in this process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cohort = arguments.cohort or Path(name) / "cohort"
        if not (cohort / "synth.json").exists():
            synthesise(cohort, arguments.patients, arguments.hours, seed=1, workers=arguments.workers)
        made = json.loads((cohort / "synth.json").read_text())
        n_bytes = read_all(cohort / "waveforms")
        print(f"{made['patients']} patients, {made['hours']:g} h, {n_bytes / 1e6:.0f} MB; {arguments.workers} workers")
        if arguments.parts:
            where_the_time_goes(cohort, Path(name))
            return
        compare(cohort, arguments.workers, arguments.pairs)
        command = [sys.executable, __file__, "--cohort", cohort, "--parts"]
        subprocess.run(command, check=True, env=ENVIRONMENT | SINGLE_THREAD | REUSED_MEMORY)  # as a worker has it


def compare(cohort: Path, workers: int, pairs: int) -> None:
    compileall.compile_dir(Path(ecgconsole.__file__).parent, quiet=1)
    runs: dict[str, list[dict[str, float]]] = {"naive": [], "ours": []}
    for _ in range(pairs):
        for side, run in (("naive", naive), ("ours", ours)):
            os.sync()  # neither waits for what the other left to write
            with tempfile.TemporaryDirectory() as name:
                runs[side].append(run(cohort, workers, Path(name)))
    print(f"{'median of ' + str(pairs):14} segments  seconds  segments/s  own clock: s  segments/s  bytes/segment")
    medians = {side: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for side, rs in runs.items()}
    for side, m in medians.items():
        rates = (m["segments"] / m["outside"], m["segments"] / m["seconds"])
        print(
            f"{side:14} {m['segments']:8.0f}  {m['outside']:7.2f}  {rates[0]:10.0f}  {m['seconds']:12.2f}"
            f"  {rates[1]:10.0f}  {m['bytes'] / m['segments']:13.0f}"
        )
    a, b = medians["naive"], medians["ours"]
    each = [
        [(o["segments"] / o[clock]) / (n["segments"] / n[clock]) for n, o in zip(*runs.values(), strict=True)]
        for clock in ("outside", "seconds")
    ]
    fastest = {side: max(r["segments"] / r["outside"] for r in rs) for side, rs in runs.items()}
    print(
        f"ratio: {statistics.median(each[0]):.2f} from outside ({min(each[0]):.2f} to {max(each[0]):.2f}),"
        f" {statistics.median(each[1]):.2f} by their own clocks,"
        f" {fastest['ours'] / fastest['naive']:.2f} of the fastest runs of both;"
        f" {b['bytes'] / b['segments'] / (a['bytes'] / a['segments']):.3f} of the bytes"
    )


def where_the_time_goes(cohort: Path, folder: Path) -> None:
    spent, total, n = seconds_by_part(cohort, folder / "parts")
    spent["rest"] = total - sum(spent.values())
    print(f"one process: {n / total:.0f} segments/s, {1e6 * total / n:.0f} µs of CPU a segment, of which")
    for part in (*PARTS, "rest"):
        print(f"  {part:18} {1e6 * spent[part] / n:6.1f} µs  {100 * spent[part] / total:4.1f} %")


if __name__ == "__main__":
    main()
