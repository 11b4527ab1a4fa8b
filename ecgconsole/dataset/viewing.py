"""One window as a person looks at it: as stored, or, where it was rejected, as it was recorded.

Detectors and decoders need SciPy, half a second to import: they are imported where a window is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgconsole.dataset.layout import SIGNALS
from ecgconsole.dataset.reader import Dataset
from ecgconsole.signals.headers import RecordError, RecordHeader, read_record
from ecgconsole.signals.reasons import Reason

if TYPE_CHECKING:
    from ecgconsole.signals.reading import SegmentSamples
    from ecgconsole.signals.tracks import Track

UNITS = ("mV", "NU")
# Detectors compare with what is around: a window alone is continued by its mirror image.
_CONTEXT_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class Trace:
    """One signal of a window: ``values`` float32 (n,), NaN where nothing is; ``beats_s`` (b,) from its start."""

    channel: str
    sampling_rate_hz: float
    values: np.ndarray
    unit: str
    beats_s: np.ndarray


@dataclass(frozen=True, eq=False)
class Window:
    """ECG and PPG of one window (None where there is none) and its columns, by path without the signal.

    ``problem`` says in words why there is nothing to see. Nothing in it names a patient or a record but
    ``columns``.
    """

    ecg: Trace | None
    ppg: Trace | None
    columns: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def stored_window(dataset: Dataset, row: int) -> Window:
    """Segment ``row``, with R peaks and pulses found in it. Raises ``IndexError`` for a row that is not there."""
    if not 0 <= row < dataset.n_segments:
        raise IndexError(f"row {row} of {dataset.n_segments}")
    from ecgconsole.signals.beats import pulses, r_peaks

    rows = slice(row, row + 1)
    columns = {name: dataset.column(name, rows)[0] for name in dataset.column_names}
    physical = dataset.signal_rows(rows)[0] * columns["scale"][:, None]
    traces = []
    for kind, detector in enumerate((r_peaks, pulses)):
        name = str(columns.get(f"segment/{SIGNALS[kind].lower()}_channel", SIGNALS[kind]))
        found = _beats(physical[kind], dataset.sampling_rate_hz, detector)
        silent = kind == 0 and columns.get("quality/ecg_silent", 0) == 1
        beats_s = found[:0] if silent else found
        present = bool(columns["present"][kind])
        traces.append(Trace(name, dataset.sampling_rate_hz, physical[kind], UNITS[kind], beats_s) if present else None)
    return Window(traces[0], traces[1], columns)


def recorded_window(parameters: dict[str, Any], record: str, start_seconds: float) -> Window:
    """What was recorded where a window was rejected: unfiltered, gaps left open, no beats.

    ``parameters`` are those of the dataset (``Dataset.parameters``). For each signal it is the first channel, in
    the order of preference, that has a sample there. The waveform folder may be gone: ``problem`` then says so.
    """
    data, seconds = parameters["data"], float(parameters["build"]["segment_seconds"])
    root = Path(data["waveform_dir"])
    if not root.is_dir():
        return Window(None, None, problem=f"the waveform folder is not there (moved, or not mounted): {root}")
    try:
        header = read_record(root, record)
        ecg = _recorded(root, header, 0, data["ecg_channels"], start_seconds, seconds)
        ppg = _recorded(root, header, 1, data["ppg_channels"], start_seconds, seconds)
    except RecordError as error:
        return Window(None, None, problem=f"its header cannot be read: {error.problem.reason.description}")
    except OSError as error:
        return Window(None, None, problem=f"its recording cannot be read: {error.strerror}")
    nothing = None if ecg or ppg else "no sample of a wanted channel can be read there"
    return Window(ecg, ppg, problem=nothing)


def reason_text(number: int) -> str:
    """``noise: power above the signal's own frequencies dominates``."""
    reason = Reason(number)
    return f"{reason.label}: {reason.description}"


def describe_reason(label: str) -> str:
    """What a reason's label means, and the least that is lost by it; empty for an unknown one."""
    return next((f"{r.description} (costs a {r.unit})" for r in Reason if r.label == label), "")


def _beats(values: np.ndarray, rate_hz: float, detector: Any) -> np.ndarray:
    from ecgconsole.signals.filtering import mirrored, spectrum

    context = round(_CONTEXT_SECONDS * rate_hz)
    row = mirrored(values.astype(np.float32), -context, len(values) + context)[None]
    time_s = detector(spectrum(row), row.shape[1], rate_hz).time_s - context / rate_hz
    return time_s[(time_s >= 0) & (time_s < len(values) / rate_hz)]


def _recorded(
    root: Path, header: RecordHeader, kind: int, names: list[str], start_seconds: float, seconds: float
) -> Trace | None:
    from ecgconsole.signals.reading import SegmentSamples
    from ecgconsole.signals.tracks import tracks_of

    samples = SegmentSamples(root, header.path)
    for track in tracks_of(header, tuple(names)):
        values = _samples(track, samples, start_seconds, seconds)
        if np.isfinite(values).any():
            return Trace(names[track.preference], track.rate_hz, values, UNITS[kind], np.zeros(0))
    return None


def _samples(track: Track, samples: SegmentSamples, start_seconds: float, seconds: float) -> np.ndarray:
    from ecgconsole.signals.tracks import read_piece

    first, last = (round(s * track.rate_hz) for s in (start_seconds, start_seconds + seconds))
    piece = read_piece(track, samples, first, last)
    values = np.full(last - first, np.nan, np.float32)
    recorded = piece.samples if piece.missing is None else np.where(piece.missing, np.nan, piece.samples)
    begin = max(0, first - piece.first)
    part = recorded[begin : begin + len(values)]
    at = max(0, piece.first - first)
    values[at : at + len(part)] = part[: len(values) - at]
    return values
