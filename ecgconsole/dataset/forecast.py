"""What a build will give and take, from the headers and a sample of the recordings, before it starts."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ecgconsole.config import Config
from ecgconsole.dataset import codec
from ecgconsole.dataset.discovery import inputs_digest
from ecgconsole.dataset.layout import SIGNAL_CHUNK_ROWS
from ecgconsole.dataset.people import Patient, Recording
from ecgconsole.dataset.plan import BYTES_OF_COLUMNS, forecast_bytes, plan_shards, space_bytes
from ecgconsole.dataset.segments import evenly, kept_rows, run_length
from ecgconsole.dataset.workers import Workers, default_workers
from ecgconsole.signals.headers import RecordError, RecordHeader, read_record
from ecgconsole.signals.reading import SegmentError, SegmentSamples
from ecgconsole.signals.tracks import tracks_of
from ecgconsole.signals.windows import candidate_windows, extract
from ecgconsole.stage import Reporter

SAMPLE_PATIENTS = 12
# Of each, as many windows as keep the whole below a share of what there is, within these bounds.
SAMPLE_SHARE = 0.025
SAMPLE_WINDOWS = (48, 192)
# Of the following, those in seconds are this project's own on one machine and small beside hours; what grows with
# segments is a multiple of what the sample measures. Fitted to benchmarks/forecast.py.
END_SECONDS = 0.6
SHARD_SECONDS = 0.015
SHARD_SYNC_SECONDS = 0.004
SHARD_OF_DEFLATE = 0.4
MERGE_OF_DEFLATE = 1.9
MERGE_CORES = 1.6
SCHEDULER_BYTES = 165e6
PATIENT_BYTES = 20e3
CLINICAL_BYTES = 200e6
WORKER_BYTES = 110e6
FILE_BYTES = 60_000


@dataclass(frozen=True)
class Forecast:
    """``space_bytes``: what the disk must hold at the fullest moment. ``cpu_seconds``: of all processes together;
    ``seconds``: by the clock, from the first recording to the last byte, with the workers that were asked for, where
    nobody else is at work.
    ``memory_bytes``: of the process that schedules and of so many workers at their largest. ``sampled``: windows that
    were looked at."""

    patients: int
    segments: int
    bytes: int
    space_bytes: int
    cpu_seconds: float
    seconds: float
    memory_bytes: int
    sampled: int


@dataclass(frozen=True)
class Sample:
    """What was found in part of one recording: ``tried`` windows, and the ``signal`` (n, 2, T) of those kept.
    Processor seconds: ``record_s`` for its headers, ``verify_s`` for the checksums of one signal in ``verified``
    windows, ``work_s`` from samples to rows. ``wait_s``: by the clock, for the disk while ``verified`` were read."""

    tried: int
    signal: np.ndarray
    record_s: float
    verified: float
    verify_s: float
    work_s: float
    wait_s: float


def forecast(root: Path, patients: Sequence[Patient], config: Config, workers: int) -> Forecast:
    """The share of windows that are kept, their bytes and the time that each takes come from ``SAMPLE_PATIENTS``
    people, all else from headers. What a sample takes itself is a second or two, where the disk is not slow."""
    samples = _samples(root, patients, config)
    tried, kept = sum(s.tried for s in samples), sum(len(s.signal) for s in samples)
    share = kept / tried if kept else 1.0
    minimum, maximum = config.build.min_segments_per_patient, config.build.max_segments_per_patient
    expected = np.array([min(p.candidate_windows * share, maximum or np.inf) for p in patients])
    expected[expected < minimum] = 0
    segments = round(float(expected.sum()))
    began = time.thread_time()
    stored = _stored_bytes(np.concatenate([s.signal for s in samples]), config) if kept else 0
    deflate_s = segments * (time.thread_time() - began) / max(1, kept)
    shards = [plan.forecast_windows for plan in plan_shards(patients, config)]
    shards_s = len(shards) * SHARD_SECONDS + SHARD_OF_DEFLATE * deflate_s
    shards_s += _work_s(samples, patients, segments / share, config)
    merge_s = MERGE_OF_DEFLATE * deflate_s
    wait_s = _verified(patients, config) * _mean(samples, "wait_s", "verified") + len(shards) * SHARD_SYNC_SECONDS
    cores = default_workers()
    # No more than there are processors, nor than the largest shard leaves work for.
    at_once = min(workers, cores) if config.build.executor == "local" else workers
    speed_up = max(1.0, min(at_once, sum(shards) / max(shards)))
    n_bytes = forecast_bytes(segments, config)
    if kept:
        n_bytes = FILE_BYTES + round(segments * (stored / kept + BYTES_OF_COLUMNS))
    scheduler_bytes = SCHEDULER_BYTES + PATIENT_BYTES * len(patients)
    if config.data.clinical_dir is not None:
        scheduler_bytes += CLINICAL_BYTES
    return Forecast(
        patients=int((expected > 0).sum()),
        segments=segments,
        bytes=n_bytes,
        space_bytes=space_bytes(segments, segments, config),
        cpu_seconds=END_SECONDS + shards_s + merge_s,
        seconds=END_SECONDS + (shards_s + wait_s) / speed_up + merge_s / min(MERGE_CORES, cores),
        memory_bytes=round(scheduler_bytes + workers * WORKER_BYTES),
        sampled=tried,
    )


def _work_s(samples: Sequence[Sample], patients: Sequence[Patient], to_read: float, config: Config) -> float:
    """Processor seconds from files to rows. Samples of every candidate window are verified, also where not all are
    taken."""
    recordings = sum(len(p.recordings) for p in patients)
    return (
        recordings * sum(s.record_s for s in samples) / max(1, len(samples))
        + _verified(patients, config) * _mean(samples, "verify_s", "verified")
        + to_read * _mean(samples, "work_s", "tried")
    )


def _verified(patients: Sequence[Patient], config: Config) -> int:
    """Windows of one signal whose samples are read for their checksums."""
    signals = 1 if config.data.require in ("ecg", "ppg") else 2
    return signals * sum(p.candidate_windows for p in patients)


def _mean(samples: Sequence[Sample], seconds: str, of: str) -> float:
    return sum(getattr(s, seconds) for s in samples) / max(1, sum(getattr(s, of) for s in samples))


def _samples(root: Path, patients: Sequence[Patient], config: Config) -> list[Sample]:
    """Of people evenly spaced in the order of the plan; of each the recording that holds the middle of what is
    theirs. What cannot be read is left to the build to name."""
    found = []
    chosen = evenly(len(patients), SAMPLE_PATIENTS).tolist()
    share = round(SAMPLE_SHARE * sum(p.candidate_windows for p in patients) / max(1, len(chosen)))
    of_each = int(np.clip(share, *SAMPLE_WINDOWS))
    # The first one pays for what is computed once, and is looked at again.
    for patient in [patients[i] for i in chosen[:1] + chosen]:
        try:
            found.append(_sample(root, patient, _middle(patient), of_each, config))
        except (RecordError, SegmentError, OSError):
            continue  # named, or tried again, by the build
    return found[1:]


def _middle(patient: Patient) -> Recording:
    ends = np.cumsum([r.candidate_windows for r in patient.recordings])
    return patient.recordings[int(np.searchsorted(ends, ends[-1] // 2, side="right"))]


def _sample(root: Path, patient: Patient, recording: Recording, at_most: int, config: Config) -> Sample:
    """Raises ``RecordError``, ``SegmentError``, ``OSError``."""
    clock = [time.thread_time()]
    header = read_record(root, recording.record)
    inputs_digest(root, header)
    clock.append(time.thread_time())
    windows = _some_windows(candidate_windows(header, config), patient.candidate_windows, at_most, config)
    wall, read = time.perf_counter(), _blocks_read()
    verified = _verify(root, header, windows, config)
    wall, read = time.perf_counter() - wall, _blocks_read() - read
    clock.append(time.thread_time())
    rows = [kept_rows(patient.patient_id, header, batch, config) for batch in extract(root, header, windows, config)]
    clock.append(time.thread_time())
    samples = round(config.build.segment_seconds * config.build.sampling_rate_hz)
    record_s, verify_s, again_s = np.diff(clock).tolist()
    return Sample(
        tried=len(windows),
        signal=np.concatenate([np.empty((0, 2, samples), np.int16), *(r["signal"] for r in rows)]),
        record_s=record_s,
        verified=verified,
        verify_s=verify_s,
        work_s=max(0.0, again_s - verify_s),  # what was verified was verified again
        # Where nothing came from the disk, it was others that it waited for.
        wait_s=max(0.0, wall - verify_s) if read else 0.0,
    )


def _some_windows(windows: np.ndarray, of_patient: int, at_most: int, config: Config) -> np.ndarray:
    """Runs of neighbours as the build takes them, from the middle of the record."""
    run = run_length(config)
    runs = np.split(windows, np.flatnonzero(np.diff(windows // run)) + 1)
    limit = config.build.max_segments_per_patient
    if limit is not None and of_patient > limit:
        runs = [runs[i] for i in evenly(len(runs), math.ceil(len(runs) * limit / of_patient))]
    wanted = max(1, at_most // run)
    first = max(0, (len(runs) - wanted) // 2)
    return np.concatenate(runs[first : first + wanted])


def _verify(root: Path, header: RecordHeader, windows: np.ndarray, config: Config) -> float:
    """Verifies what a build would of the segments that ``windows`` touch; how many windows' time of one signal they
    hold."""
    per_window = config.build.segment_seconds * header.sampling_rate_hz
    samples = SegmentSamples(root, header.path)
    n = 0.0
    for names in (config.data.ecg_channels, config.data.ppg_channels):
        for segment, channel in [part for track in tracks_of(header, names)[:1] for part in track.parts]:
            touched = (windows * per_window < segment.stop_sample) & ((windows + 1) * per_window > segment.start_sample)
            if touched.any():
                samples.verify(segment, (channel,))
                n += segment.length_samples / per_window
    return n


def _blocks_read() -> int:
    """That this process asked its disks for, not the system's memory of them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock


def _stored_bytes(signal: np.ndarray, config: Config) -> int:
    """What ``signal`` (n, 2, T) takes in the dataset, each signal deflated in chunks of its own."""
    if config.build.compression == "none":
        return int(signal.nbytes)
    chunks = [signal[i : i + SIGNAL_CHUNK_ROWS] for i in range(0, len(signal), SIGNAL_CHUNK_ROWS)]
    return sum(len(codec.encode(np.ascontiguousarray(rows[:, i]))) for rows in chunks for i in range(rows.shape[1]))


class Foretold:
    """A forecast that a worker makes while others build; told when it is there, and again with what came."""

    def __init__(self, root: Path, patients: Sequence[Patient], config: Config, workers: Workers) -> None:
        self._workers = workers
        self._began = time.monotonic()
        self._used = used()
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
        """With what came; time only where the ``whole`` was built, and not a part of it earlier, and what processes
        took only where they can be looked at: on this machine."""
        made = self._made()
        if made is None:
            return
        now = used()
        came: dict[str, Any] = {"actual_segments": result["segments"], "actual_bytes": result["bytes"]}
        here = now.worker_bytes > 0
        came["actual_memory_bytes"] = now.parent_bytes + self._workers.n * now.worker_bytes if here else None
        came["actual_cpu_seconds"] = now.cpu_seconds - self._used.cpu_seconds if here and whole else None
        came["actual_seconds"] = time.monotonic() - self._began if whole else None
        reporter.emit("forecast", **asdict(made), **came)

    def _made(self) -> Forecast | None:
        try:
            return self._future.result()
        except self._workers.deaths:
            return None  # its worker died; the shards have a second attempt, a forecast needs none


@dataclass(frozen=True)
class Used:
    """What this process and those below it took so far; a worker that died is forgotten. Memory is what they held at
    most, shared libraries included: of this process, and of the largest below it (0: there is none)."""

    cpu_seconds: float
    parent_bytes: int
    worker_bytes: int


def used() -> Used:
    cpu_s, largest = time.process_time(), 0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
            cpu_s += times.user + times.system
            largest = max(largest, peak_bytes(child.pid))
        except psutil.NoSuchProcess:
            continue  # it ended while it was looked at
    return Used(cpu_s, peak_bytes(os.getpid()), largest)


def peak_bytes(pid: int) -> int:
    """The most memory that a process held so far; what it holds now where the system does not keep that."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    except (OSError, IndexError):
        return int(psutil.Process(pid).memory_info().rss)
