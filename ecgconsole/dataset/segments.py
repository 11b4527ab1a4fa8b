"""One patient's recordings as rows of the dataset: which windows, quantised, with what was rejected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecgconsole.config import Config
from ecgconsole.dataset.discovery import Rejection
from ecgconsole.dataset.layout import SIGNALS
from ecgconsole.dataset.people import Patient
from ecgconsole.signals import compiled
from ecgconsole.signals.headers import Problem, RecordError, RecordHeader, read_record, record_problems
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.windows import WindowBatch, candidate_windows, extract
from ecgconsole.text import sanitise

Rows = dict[str, np.ndarray]

# Beyond the maximum, windows are taken in runs of neighbours, spread evenly over at least so many places.
# Neighbours serve whoever needs context, and cost less: a window alone is filtered with two minutes around it.
LEAST_PLACES = 50
RUN_SECONDS = 120.0
TEXT_BYTES = 300


@dataclass
class Tally:
    """What became of one patient's windows; filled while ``patient_rows`` runs."""

    candidate_windows: int = 0
    segments: int = 0
    headers: list[RecordHeader] = field(default_factory=list)
    rejected: list[Rows] = field(default_factory=list)
    rhythm: dict[str, list[np.ndarray]] = field(default_factory=dict)


def patient_rows(root: Path, patient: Patient, config: Config, tally: Tally) -> Iterator[Rows]:
    """Kept segments in order of record and time, as columns by path (``segment/record``, ``signal``).

    Nothing is yielded for a patient with fewer than ``build.min_segments_per_patient``. Memory is bounded
    by that minimum, the maximum, and what ``signals.windows.extract`` yields at a time.
    """
    headers = tally.headers = _headers(root, patient, tally)
    candidates = [candidate_windows(header, config) for header in headers]
    tally.candidate_windows = sum(len(c) for c in candidates)
    reported: set[Problem] = set()

    def report(problem: Problem, record: str) -> None:
        if problem not in reported:
            reported.add(problem)
            # The record's own header was read: what is wrong with a header is wrong with a segment's.
            level = "segment" if problem.reason.unit == "record" else problem.reason.unit
            tally.rejected.append(_problem_row(level, patient.patient_id, record, problem))

    for header in headers:
        for problem in record_problems(header):
            report(problem, header.path)

    def cut(chosen: list[np.ndarray]) -> Iterator[tuple[int, Rows]]:
        for i, (header, windows) in enumerate(zip(headers, chosen, strict=True)):
            if len(windows):
                on_problem = partial(report, record=header.path)
                for batch in extract(root, header, windows, config, on_problem):
                    tally.rejected += _rejected_rows(patient.patient_id, batch)
                    yield i, kept_rows(patient.patient_id, header, batch, config)

    limit = config.build.max_segments_per_patient
    if limit is None or tally.candidate_windows <= limit:
        rows: Iterator[Rows] = (r for _, r in cut(candidates))
    else:
        rows = _evenly_spread(candidates, limit, run_length(config), cut, tally, patient)
    yield from _with_minimum(rows, config.build.min_segments_per_patient, tally, patient)


def kept_rows(patient_id: str, header: RecordHeader, batch: WindowBatch, config: Config) -> Rows:
    """The columns of a batch's kept windows."""
    kept = batch.reason == 0
    n = int(kept.sum())
    # A slice copies nothing, and most batches are kept whole.
    keep: Any = slice(None) if n == len(kept) else kept
    present = batch.present[keep]
    scale = np.where(present, batch.quantum[keep], np.float32(1)).astype(np.float32)
    seconds = batch.start_seconds[keep]
    rows: Rows = {
        "signal": quantise(batch.signal, scale, np.flatnonzero(kept)),
        "scale": scale,
        "present": present,
        "segment/patient_id": np.full(n, as_bytes(patient_id)),
        "segment/record": np.full(n, as_bytes(batch.record)),
        "segment/window": batch.window[keep].astype(np.int64),
        "segment/start_sample": batch.start_sample[keep].astype(np.int64),
        "segment/start_seconds": seconds.astype(np.float64),
        "segment/charttime": chart_times(header.start_datetime, seconds),
        "segment/ecg_channel": _channel_names(config.data.ecg_channels, batch.ecg_channel[keep]),
        "segment/ppg_channel": _channel_names(config.data.ppg_channels, batch.ppg_channel[keep]),
        "segment/signal_reason": batch.signal_reason[keep].astype(np.uint8),
    }
    rows |= {f"quality/{name}": values[keep].astype(np.float32) for name, values in batch.quality.items()}
    rows |= {f"rhythm/{name}": values[keep].astype(np.float32) for name, values in batch.rhythm.items()}
    return rows


def quantise(signal: np.ndarray, scale: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Physical ``signal[rows]`` (n, 2, T) as int16 steps of ``scale`` (n, 2): rounded, so off by half a step at most.

    ``scale`` is such that no step goes beyond int16, see ``signals.windows.quantum_of``.
    """
    per_unit = (1 / scale.astype(np.float64)).astype(np.float32)
    if compiled.available():
        each = np.ascontiguousarray(signal.swapaxes(0, 1))  # no copy of what ``extract`` yields
        steps = np.empty((len(rows), *signal.shape[1:]), np.int16)
        compiled.call("quantise", each, len(signal), rows, *steps.shape, per_unit, steps)
        return steps
    return np.rint(signal[rows] * per_unit[:, :, None]).astype(np.int16)


def evenly(n: int, k: int) -> np.ndarray:
    """``k`` of ``range(n)``, evenly spaced (all where ``k`` is ``n`` or more)."""
    if k >= n:
        return np.arange(n)
    return (np.arange(k) * n + n // 2) // k


def run_length(config: Config) -> int:
    """Windows that are taken as neighbours where not all of a patient's are."""
    longest = max(1, round(RUN_SECONDS / config.build.segment_seconds))
    limit = config.build.max_segments_per_patient
    return longest if limit is None else min(max(1, limit // LEAST_PLACES), longest)


def chart_times(start: datetime | None, seconds: np.ndarray) -> np.ndarray:
    """ISO times to the millisecond (``2183-04-28T17:48:09.486``) as bytes; empty where the start is unknown."""
    if start is None:
        return np.full(len(seconds), b"", "S23")
    times = np.datetime64(start, "ms") + np.rint(seconds * 1000).astype("timedelta64[ms]")
    return np.datetime_as_string(times, unit="ms").astype("S23")


def as_bytes(text: str) -> bytes:
    """UTF-8 for a fixed-length column; what is no text becomes ``?``."""
    return text.encode("utf-8", "replace")


def rejection_row(level: str, rejection: Rejection) -> Rows:
    """A rejection that concerns no single window."""
    return _row(level, rejection.patient_id, rejection.record, rejection.where, rejection.reason, rejection.detail)


def _headers(root: Path, patient: Patient, tally: Tally) -> list[RecordHeader]:
    headers = []
    for recording in patient.recordings:
        try:
            headers.append(read_record(root, recording.record))
        except RecordError as error:
            tally.rejected.append(_problem_row("record", patient.patient_id, recording.record, error.problem))
    return headers


def _evenly_spread(
    candidates: list[np.ndarray],
    limit: int,
    run_windows: int,
    cut: Any,
    tally: Tally,
    patient: Patient,
) -> Iterator[Rows]:
    """At most ``limit`` kept windows, spread over all candidates; where some are rejected, others stand in.

    Each round takes evenly spaced runs of what is left, as many as the acceptance so far asks for, until
    the limit is reached or nothing is left.
    """
    record_of = np.repeat(np.arange(len(candidates)), [len(c) for c in candidates])
    window = np.concatenate(candidates)
    borders = np.flatnonzero((np.diff(window // run_windows) != 0) | (np.diff(record_of) != 0)) + 1
    left = np.split(np.arange(len(window)), borders)
    kept: list[tuple[int, Rows]] = []
    n_kept = n_tried = n_surplus = 0
    while left and n_kept < limit:
        acceptance = max(n_kept / n_tried, 0.05) if n_tried else 1.0
        runs = evenly(len(left), math.ceil((limit - n_kept) / acceptance / run_windows))
        chosen = np.concatenate([left[i] for i in runs])
        taken = set(runs.tolist())
        left = [run for i, run in enumerate(left) if i not in taken]
        n_tried += len(chosen)
        found = list(cut([window[chosen[record_of[chosen] == i]] for i in range(len(candidates))]))
        n_found = sum(len(rows["scale"]) for _, rows in found)
        surplus = max(0, n_kept + n_found - limit)
        if surplus:
            found = _thinned(found, evenly(n_found, n_found - surplus))
        n_kept += n_found - surplus
        n_surplus += surplus
        kept += found
    # In order of record and time again: rounds interleave.
    for i in range(len(candidates)):
        of_record = [rows for j, rows in kept if j == i]
        if of_record:
            joined = {path: np.concatenate([rows[path] for rows in of_record]) for path in of_record[0]}
            order = np.argsort(joined["segment/window"], kind="stable")
            yield {path: values[order] for path, values in joined.items()}
    beyond = len(window) - n_tried + n_surplus
    if beyond:
        detail = f"{beyond} of {len(window)} candidate windows not taken: {limit} segments are the maximum"
        tally.rejected.append(_row("patient", patient.patient_id, "", "", Reason.BEYOND_MAXIMUM, detail))


def _thinned(found: list[tuple[int, Rows]], keep: np.ndarray) -> list[tuple[int, Rows]]:
    """The rows at positions ``keep``, counted over all parts."""
    thinned, start = [], 0
    for i, rows in found:
        n = len(rows["scale"])
        own = keep[(keep >= start) & (keep < start + n)] - start
        thinned.append((i, {path: values[own] for path, values in rows.items()}))
        start += n
    return thinned


def _with_minimum(rows: Iterator[Rows], minimum: int, tally: Tally, patient: Patient) -> Iterator[Rows]:
    """Holds rows back until the patient has enough of them; then lets them pass."""
    held: list[Rows] = []
    n = 0
    for part in rows:
        n += len(part["scale"])
        for path, values in part.items():
            if path.startswith("rhythm/"):
                tally.rhythm.setdefault(path.removeprefix("rhythm/"), []).append(values)
        if n < minimum:
            held.append(part)
            continue
        yield from held
        held = []
        yield part
    if n > 0 and not held:
        tally.segments = n
        return
    detail = f"{n} segments of {tally.candidate_windows} candidate windows; min_segments_per_patient is {minimum}"
    tally.rejected.append(_row("patient", patient.patient_id, "", "", Reason.TOO_FEW_SEGMENTS, detail))


def _rejected_rows(patient_id: str, batch: WindowBatch) -> list[Rows]:
    lost = batch.reason != 0
    n = int(lost.sum())
    if not n:
        return []
    to_blame = batch.signal_reason[lost] != 0
    names = np.array([b"", SIGNALS[0].encode(), SIGNALS[1].encode(), "+".join(SIGNALS).encode()])
    return [
        {
            "level": np.full(n, b"window", "S8"),
            "patient_id": np.full(n, as_bytes(patient_id)),
            "record": np.full(n, as_bytes(batch.record)),
            "start_seconds": batch.start_seconds[lost].astype(np.float64),
            "where": names[to_blame[:, 0] + 2 * to_blame[:, 1]],
            "reason": batch.reason[lost].astype(np.uint8),
            "signal_reason": batch.signal_reason[lost].astype(np.uint8),
            "detail": np.full(n, b"", "S1"),
        }
    ]


def _problem_row(level: str, patient_id: str, record: str, problem: Problem) -> Rows:
    return _row(level, patient_id, record, problem.where, problem.reason, problem.detail)


def _row(level: str, patient_id: str, record: str, where: str, reason: Reason, detail: str) -> Rows:
    def text(value: str) -> np.ndarray:
        # A character of several bytes at the cut goes whole.
        return np.array([as_bytes(sanitise(value, TEXT_BYTES))[:TEXT_BYTES].decode(errors="ignore").encode()])

    return {
        "level": np.array([as_bytes(level)], "S8"),
        "patient_id": np.array([as_bytes(patient_id)]),
        "record": np.array([as_bytes(record)]),
        "start_seconds": np.array([np.nan]),
        "where": text(where),
        "reason": np.array([reason], np.uint8),
        "signal_reason": np.zeros((1, 2), np.uint8),
        "detail": text(detail),
    }


def _channel_names(names: tuple[str, ...], index: np.ndarray) -> np.ndarray:
    """Channel names by index into the preference list; empty for 255, no channel."""
    table = np.array([as_bytes(name) for name in names] + [b""])
    return table[np.where(index == 255, len(names), index)]
