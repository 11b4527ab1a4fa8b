"""From a record's header to clean windows: choice of channel, spans, filters, quality, rhythm.

Window k covers ``k`` to ``k + 1`` times ``build.segment_seconds`` on the record's clock, which counts
from its first sample, gaps included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.signals import beats, quality, rhythm
from ecgconsole.signals.filtering import apply_response, band_pass_response, spectrum
from ecgconsole.signals.headers import Problem, RecordHeader, record_problems
from ecgconsole.signals.quality import QUALITY_COLUMNS
from ecgconsole.signals.reading import SegmentSamples
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.rhythm import RHYTHM_COLUMNS
from ecgconsole.signals.rows import Geometry, Rows, beats_of, geometry_of, read_rows, windows_of
from ecgconsole.signals.templates import ECG_SPAN_S, PPG_SPAN_S, template_correlation
from ecgconsole.signals.tracks import Span, Track, channel_seconds, least_over_parts, tracks_of

__all__ = [
    "QUALITY_COLUMNS",
    "RHYTHM_COLUMNS",
    "WindowBatch",
    "candidate_windows",
    "channel_seconds",
    "extract",
    "record_problems",
]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

ECG, PPG = 0, 1
NO_CHANNEL = 255
BATCH_BLOCKS = 16
_INT16_MAX = 32767
# Reasons that a better one replaces.
_OPEN = (Reason.NO_CHANNEL, Reason.GAP)


@dataclass(frozen=True)
class WindowBatch:
    """Windows of one record in time order, rejected ones included (``reason`` not 0).

    ``window``, ``start_sample`` (frames at the record's own rate) int64 (n,); ``start_seconds`` float64
    (n,), from the record's first sample. ``signal`` float32 (n, 2, T), ECG and PPG, filtered, in the
    recording's units (mV, NU), zeros where not ``present`` (n, 2). ``quantum`` float32 (n, 2): the
    step with which ``signal`` may be stored as int16, 0 where not present. ``ecg_channel``,
    ``ppg_channel`` uint8 (n,): index in ``data.ecg_channels``, ``data.ppg_channels``, 255 for none.
    ``quality``, ``rhythm``: float32 (n,) for each of ``QUALITY_COLUMNS``, ``RHYTHM_COLUMNS``, NaN where
    unknown. ``reason`` uint8 (n,); ``signal_reason`` uint8 (n, 2): why each signal is not present.
    """

    record: str
    window: Int64
    start_sample: Int64
    start_seconds: NDArray[np.float64]
    signal: Float32
    quantum: Float32
    present: Bool
    ecg_channel: NDArray[np.uint8]
    ppg_channel: NDArray[np.uint8]
    quality: dict[str, Float32]
    rhythm: dict[str, Float32]
    reason: NDArray[np.uint8]
    signal_reason: NDArray[np.uint8]


@dataclass
class _Kind:
    """The windows of one signal as they fill up, channel after channel."""

    signal: Float32
    quantum: Float32
    channel: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    columns: dict[str, Float32]
    beat_window: list[Int64]
    beat_time_s: list[NDArray[np.float64]]


def candidate_windows(header: RecordHeader, config: Config) -> Int64:
    """Numbers of the windows which, by headers alone, could hold what ``data.require`` asks for, sorted."""
    ecg = _recorded_windows(header, config.data.ecg_channels, config)
    ppg = _recorded_windows(header, config.data.ppg_channels, config)
    match config.data.require:
        case "ecg":
            return ecg
        case "ppg":
            return ppg
        case "both":
            return np.intersect1d(ecg, ppg, assume_unique=True)
        case _:
            return np.union1d(ecg, ppg)


def extract(
    root: Path,
    header: RecordHeader,
    windows: Int64,
    config: Config,
    on_problem: Callable[[Problem], None] | None = None,
) -> Iterator[WindowBatch]:
    """Decodes, filters and judges the given windows (sorted, unique), in batches of bounded size.

    Only segments that a window needs are read. ``on_problem`` receives each segment that cannot be
    decoded, once; its windows get that reason. ``OSError`` says that the disk is at fault, and passes.
    """
    geometry = geometry_of(
        config.build.sampling_rate_hz, config.build.segment_seconds, config.build.ecg_band_hz, config.build.ppg_band_hz
    )
    samples = SegmentSamples(root, header.path)
    tracks = (tracks_of(header, config.data.ecg_channels), tracks_of(header, config.data.ppg_channels))
    told: set[Problem] = set()

    def tell(problem: Problem) -> None:
        if problem not in told:
            told.add(problem)
            if on_problem is not None:
                on_problem(problem)

    windows = np.asarray(windows, np.int64)
    blocks = windows // geometry.windows
    for chosen in _batches(blocks):
        yield _batch(header, windows[chosen], config, geometry, samples, tracks, tell)


def quantum_of(adc_step: NDArray[np.float64], sd: Float32, peak: Float32) -> Float32:
    """Step to store windows with: an eighth of the ADC step, or 1/2048 of the standard deviation where coarser.

    Coarser still where int16 would overflow, which takes a peak beyond 16 standard deviations.
    """
    wanted = np.maximum(adc_step / 8, sd.astype(np.float64) / 2048)
    # The rounding of float32 must not carry the peak past 32767.
    return np.maximum(wanted, peak.astype(np.float64) / _INT16_MAX * (1 + 1e-6)).astype(np.float32)


def _batches(blocks: Int64) -> Iterator[slice]:
    """Slices of windows that lie in up to ``BATCH_BLOCKS`` different blocks."""
    if not len(blocks):
        return
    number = np.cumsum(np.concatenate([[0], np.diff(blocks) != 0])) // BATCH_BLOCKS
    edges = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1, [len(blocks)]])
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield slice(start, stop)


def _recorded_windows(header: RecordHeader, names: tuple[str, ...], config: Config) -> Int64:
    """Windows that one of the named channels covers without a gap, by headers."""
    ranges = [
        np.arange(*_windows_inside(span, header.sampling_rate_hz, config.build.segment_seconds), dtype=np.int64)
        for track in tracks_of(header, names)
        for span in track.spans()
    ]
    return np.unique(np.concatenate(ranges)) if ranges else np.zeros(0, np.int64)


def _windows_inside(span: Span, rate_hz: float, segment_seconds: float) -> tuple[int, int]:
    """First window that lies inside a span of frames, and the one after the last."""
    per_window = segment_seconds * rate_hz
    first = int(np.ceil((span[0] - 1e-6) / per_window))
    return first, max(first, int(np.floor((span[1] + 1e-6) / per_window)))


def _batch(
    header: RecordHeader,
    windows: Int64,
    config: Config,
    geometry: Geometry,
    samples: SegmentSamples,
    tracks: tuple[list[Track], list[Track]],
    tell: Callable[[Problem], None],
) -> WindowBatch:
    n = len(windows)
    seconds = config.build.segment_seconds
    start = np.rint(windows * seconds * header.sampling_rate_hz).astype(np.int64)
    stop = np.rint((windows + 1) * seconds * header.sampling_rate_hz).astype(np.int64)
    kinds = []
    for kind in (ECG, PPG):
        filled = _empty(kind, n, geometry)
        for track in tracks[kind]:
            todo = np.flatnonzero(filled.reason != Reason.KEPT)
            _fill(filled, kind, track, windows, start, stop, todo, config, geometry, samples, tell)
        _blame_segments(filled.reason, header, start, stop)
        kinds.append(filled)
    ecg, ppg = kinds
    ecg_beats, ppg_beats = _sorted_beats(ecg), _sorted_beats(ppg)
    columns = ecg.columns | ppg.columns
    columns["ecg_template_correlation"] = template_correlation(ecg.signal, *ecg_beats, geometry.rate_hz, ECG_SPAN_S)
    columns["ppg_template_correlation"] = template_correlation(ppg.signal, *ppg_beats, geometry.rate_hz, PPG_SPAN_S)
    return WindowBatch(
        record=header.path,
        window=windows,
        start_sample=start,
        start_seconds=(windows * seconds).astype(np.float64),
        signal=np.stack([ecg.signal, ppg.signal], axis=1),
        quantum=np.stack([ecg.quantum, ppg.quantum], axis=1),
        present=np.stack([ecg.reason == Reason.KEPT, ppg.reason == Reason.KEPT], axis=1),
        ecg_channel=ecg.channel,
        ppg_channel=ppg.channel,
        quality={column.name: columns[column.name] for column in QUALITY_COLUMNS},
        rhythm=rhythm.rhythm(rhythm.intervals(*ecg_beats), rhythm.intervals(*ppg_beats), n),
        reason=quality.window_reasons(config.data.require, ecg.reason, ppg.reason),
        signal_reason=np.stack([ecg.reason, ppg.reason], axis=1),
    )


def _empty(kind: int, n: int, geometry: Geometry) -> _Kind:
    prefix = "ecg_" if kind == ECG else "ppg_"
    return _Kind(
        signal=np.zeros((n, geometry.samples), np.float32),
        quantum=np.zeros(n, np.float32),
        channel=np.full(n, NO_CHANNEL, np.uint8),
        reason=np.full(n, Reason.NO_CHANNEL, np.uint8),
        columns={c.name: np.full(n, np.nan, np.float32) for c in QUALITY_COLUMNS if c.name.startswith(prefix)},
        beat_window=[],
        beat_time_s=[],
    )


def _fill(
    filled: _Kind,
    kind: int,
    track: Track,
    windows: Int64,
    start: Int64,
    stop: Int64,
    todo: Int64,
    config: Config,
    geometry: Geometry,
    samples: SegmentSamples,
    tell: Callable[[Problem], None],
) -> None:
    """Fills those of the windows ``todo`` that this track holds; a later track never overwrites a good one."""
    touched = np.isfinite(least_over_parts(track, start[todo], stop[todo], lambda segment, channel: 0.0))
    todo = todo[touched]
    filled.reason[todo[filled.reason[todo] == Reason.NO_CHANNEL]] = Reason.GAP
    spans = track.spans()
    first_frame = windows[todo] * config.build.segment_seconds * (track.rate_hz / track.samples_per_frame)
    last_frame = (windows[todo] + 1) * config.build.segment_seconds * (track.rate_hz / track.samples_per_frame)
    span = np.searchsorted([a for a, _ in spans], first_frame + 1e-6, side="right") - 1
    ends = np.array([b for _, b in spans])
    todo = todo[(span >= 0) & (last_frame <= ends[np.maximum(span, 0)] + 1e-6)]
    if not len(todo):
        return
    rows = read_rows(track, windows[todo], config.build.segment_seconds, geometry, samples)
    for segment, problem in rows.lost:
        tell(problem)
        hit = (start[todo] < segment.stop_sample) & (stop[todo] > segment.start_sample)
        _note(filled.reason, todo[hit], problem.reason)
    found = todo[rows.window]
    lost = np.setdiff1d(todo, found, assume_unique=True)
    _note(filled.reason, lost, Reason.MISSING_SAMPLES)
    if not len(found):
        return
    step = least_over_parts(track, start[found], stop[found], lambda s, c: s.signals[c].adc_step)
    # The least of "has a gain": 0 as soon as one segment has none.
    calibrated = least_over_parts(track, start[found], stop[found], lambda s, c: float(s.signals[c].gain != 0))
    result = _judged(kind, rows, 1 - calibrated, config, geometry)
    good = result.reason == Reason.KEPT
    fresh = np.isin(filled.reason[found], _OPEN)
    _note(filled.reason, found[~good], result.reason[~good])
    keep = found[good]
    filled.reason[keep] = Reason.KEPT
    filled.signal[keep] = result.filtered[good]
    filled.quantum[keep] = quantum_of(step[good], result.sd[good], np.abs(result.filtered[good]).max(axis=1))
    filled.channel[keep] = track.preference
    # A rejected window shows the columns of the channel whose reason it has.
    shown = good | fresh
    for name, values in result.columns.items():
        filled.columns[name][found[shown]] = values[shown]
    beat = good[result.beat_window]
    filled.beat_window.append(found[result.beat_window[beat]])
    filled.beat_time_s.append(result.beat_time_s[beat])


def _note(reason: NDArray[np.uint8], where: Int64, value: NDArray[np.uint8] | Reason) -> None:
    """Sets the reason where nothing better than "no channel" or "gap" is known yet."""
    open_to = np.isin(reason[where], _OPEN)
    reason[where[open_to]] = value[open_to] if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class _Judged:
    """What was found in the windows of some rows; beats sorted by window and time, times from the window's start."""

    filtered: Float32
    sd: Float32
    reason: NDArray[np.uint8]
    columns: dict[str, Float32]
    beat_window: Int64
    beat_time_s: NDArray[np.float64]


def _judged(kind: int, rows: Rows, uncalibrated: NDArray[np.float64], config: Config, geometry: Geometry) -> _Judged:
    prefix, band_hz = ("ecg", config.build.ecg_band_hz) if kind == ECG else ("ppg", config.build.ppg_band_hz)
    bins = spectrum(rows.rows)
    find = beats.r_peaks if kind == ECG else beats.pulses
    found = find(bins, geometry.n, geometry.rate_hz)
    response = band_pass_response(geometry.n, geometry.rate_hz, band_hz)
    filtered = windows_of(apply_response(bins, response, geometry.n), rows, geometry)
    raw = windows_of(rows.rows, rows, geometry)
    columns = {f"{prefix}_{name}": values.astype(np.float32) for name, values in rows.faults.items()}
    columns[f"{prefix}_uncalibrated"] = uncalibrated.astype(np.float32)
    if kind == ECG:
        columns |= quality.ecg_spectrum(raw, geometry.rate_hz)
        silent = (np.ptp(filtered, axis=1) < quality.SILENT_RANGE_MV) & (uncalibrated == 0)
        columns["ecg_silent"] = silent.astype(np.float32)
        reason = quality.ecg_reasons(columns)
    else:
        columns |= quality.ppg_spectrum(raw, geometry.rate_hz)
        reason = quality.ppg_reasons(columns)
    shape, sd = quality.moments(filtered, prefix)
    columns |= shape
    window, time_s = beats_of(found, rows, geometry)
    if kind == ECG:
        # What stands out of a noise floor is noise.
        window, time_s = window[~silent[window]], time_s[~silent[window]]
    return _Judged(filtered, sd, reason, columns, window, time_s)


def _sorted_beats(filled: _Kind) -> tuple[Int64, NDArray[np.float64]]:
    if not filled.beat_window:
        return np.zeros(0, np.int64), np.zeros(0)
    window, time_s = np.concatenate(filled.beat_window), np.concatenate(filled.beat_time_s)
    order = np.lexsort((time_s, window))
    return window[order], time_s[order]


def _blame_segments(reason: NDArray[np.uint8], header: RecordHeader, start: Int64, stop: Int64) -> None:
    """A window without a channel that touches an unusable segment was lost by that segment."""
    for segment in header.segments:
        if segment.problem is not None:
            end = segment.stop_sample
            hit = np.flatnonzero((start < end) & (stop > segment.start_sample))
            _note(reason, hit, segment.problem.reason)
