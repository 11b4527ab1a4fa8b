"""What a build will give and take, from the headers and a sample of the recordings, before it starts."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.config import Config
from ecgconsole.dataset.people import Patient
from ecgconsole.dataset.plan import forecast_bytes, space_bytes
from ecgconsole.dataset.segments import evenly
from ecgconsole.dataset.workers import Workers
from ecgconsole.signals.headers import RecordError, read_record
from ecgconsole.signals.windows import candidate_windows, extract
from ecgconsole.stage import Reporter

SAMPLE_PATIENTS = 12
SAMPLE_WINDOWS = 24
# Measured by benchmarks/scaling.py: a start (imports, tables), a build's time for a window (shards and merge included)
# as a multiple of the sample's, and resident memory.
START_SECONDS = 3.0
WHOLE_OF_SAMPLE = 1.6
SCHEDULER_BYTES = 200e6
WORKER_BYTES = 100e6


@dataclass(frozen=True)
class Forecast:
    """``space_bytes``: what the disk must hold at the fullest moment. ``seconds``, ``memory_bytes``: with the
    workers that were asked for. ``sampled``: windows that were looked at."""

    patients: int
    segments: int
    bytes: int
    space_bytes: int
    seconds: float
    memory_bytes: int
    sampled: int


def forecast(root: Path, patients: Sequence[Patient], config: Config, workers: int) -> Forecast:
    """The share of windows that are kept and the time that each takes come from ``SAMPLE_PATIENTS`` people, all else
    from headers. What a sample takes itself is a second at most, where the disk is not slow."""
    tried, kept, each_s = _sample(root, patients, config)
    share = kept / tried if kept else 1.0
    minimum, maximum = config.build.min_segments_per_patient, config.build.max_segments_per_patient
    expected = [min(p.candidate_windows * share, maximum or np.inf) for p in patients]
    segments = round(sum(n for n in expected if n >= minimum))
    to_read = segments / share
    return Forecast(
        patients=sum(n >= minimum for n in expected),
        segments=segments,
        bytes=forecast_bytes(segments, config),
        space_bytes=space_bytes(segments, segments, config),
        seconds=START_SECONDS + to_read * each_s * WHOLE_OF_SAMPLE / workers,
        memory_bytes=round(SCHEDULER_BYTES + workers * WORKER_BYTES),
        sampled=tried,
    )


def _sample(root: Path, patients: Sequence[Patient], config: Config) -> tuple[int, int, float]:
    """Windows tried, windows kept, seconds a window (median over patients): neighbours from the middle of the longest
    record of patients evenly spaced in the order of the plan. What cannot be read is left to the build to name."""
    tried = kept = 0
    each_s: list[float] = []
    for i in evenly(len(patients), SAMPLE_PATIENTS).tolist():
        longest = max(patients[i].recordings, key=lambda r: r.candidate_windows)
        try:
            header = read_record(root, longest.record)
            windows = candidate_windows(header, config)
            first = max(0, (len(windows) - SAMPLE_WINDOWS) // 2)
            windows = windows[first : first + SAMPLE_WINDOWS]
            began = time.perf_counter()
            of_record = sum(int((b.reason == 0).sum()) for b in extract(root, header, windows, config))
        except (RecordError, OSError):
            continue  # named, or tried again, by the build
        each_s.append((time.perf_counter() - began) / max(1, len(windows)))
        tried, kept = tried + len(windows), kept + of_record
    # The first one pays for what is computed once.
    return tried, kept, float(np.median(each_s[1:] or each_s or [0.0]))


class Foretold:
    """A forecast that a worker makes while others build; told when it is there, and again with what came."""

    def __init__(self, root: Path, patients: Sequence[Patient], config: Config, workers: Workers) -> None:
        self._workers = workers
        self._began = time.monotonic()
        self._future: Future[Forecast] = workers.submit(forecast, root, patients, config, workers.n)
        self._told = False

    def tell(self, reporter: Reporter) -> None:
        """Once, as soon as it is known; never waits."""
        if not self._told and self._future.done():
            self._told = True
            made = self._made()
            if made is not None:
                reporter.emit("forecast", **asdict(made))

    def compare(self, reporter: Reporter, result: dict[str, Any], whole: bool) -> None:
        """With what came; time only where the ``whole`` was built, and not a part of it earlier."""
        made = self._made()
        if made is None:
            return
        came = {"actual_segments": result["segments"], "actual_bytes": result["bytes"]}
        try:
            memory = peak_bytes() + self._workers.n * self._workers.submit(peak_bytes).result()
        except self._workers.deaths:
            memory = None
        seconds = time.monotonic() - self._began if whole else None
        reporter.emit("forecast", **asdict(made), **came, actual_memory_bytes=memory, actual_seconds=seconds)

    def _made(self) -> Forecast | None:
        try:
            return self._future.result()
        except self._workers.deaths:
            return None  # its worker died; the shards have a second attempt, a forecast needs none


def peak_bytes() -> int:
    """The most memory that this process held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
