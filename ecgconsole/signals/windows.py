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
BATCH_BLOCKS = 32
_INT16_MAX = 32767
# By reason: whether a better one replaces it.
_IS_OPEN = np.isin(np.arange(256), (Reason.NO_CHANNEL, Reason.GAP))


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


@dataclass(frozen=True)
class _Wanted:
    """The windows of one batch, their first and last frame, and what is needed to read and judge them."""

    header: RecordHeader
    config: Config
    geometry: Geometry
    samples: SegmentSamples
    tell: Callable[[Problem], None]
    windows: Int64
    start: Int64
    stop: Int64


@dataclass
class _Kind:
    """The windows of one signal as they fill up, channel after channel. ``signal`` is a part of the batch's, nothing
    in particular where a window is not kept."""

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
    frames = config.build.segment_seconds * header.sampling_rate_hz
    start, stop = (np.rint(edge * frames).astype(np.int64) for edge in (windows, windows + 1))
    for chosen in _batches(windows // geometry.windows):
        wanted = _Wanted(header, config, geometry, samples, tell, windows[chosen], start[chosen], stop[chosen])
        yield _batch(wanted, tracks)


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
    if len(ranges) == 1:
        return ranges[0]
    return np.unique(np.concatenate(ranges)) if ranges else np.zeros(0, np.int64)


def _windows_inside(span: Span, rate_hz: float, segment_seconds: float) -> tuple[int, int]:
    """First window that lies inside a span of frames, and the one after the last."""
    per_window = segment_seconds * rate_hz
    first = int(np.ceil((span[0] - 1e-6) / per_window))
    return first, max(first, int(np.floor((span[1] + 1e-6) / per_window)))


def _batch(wanted: _Wanted, tracks: tuple[list[Track], list[Track]]) -> WindowBatch:
    n, rate_hz = len(wanted.windows), wanted.geometry.rate_hz
    signal = np.empty((2, n, wanted.geometry.samples), np.float32)
    ecg, ppg = _empty(ECG, signal[ECG]), _empty(PPG, signal[PPG])
    for kind, filled in ((ECG, ecg), (PPG, ppg)):
        for track in tracks[kind]:
            _fill(filled, kind, track, wanted)
        filled.signal[filled.reason != Reason.KEPT] = 0
        _blame_segments(filled.reason, wanted)
    ecg_beats, ppg_beats = _sorted_beats(ecg), _sorted_beats(ppg)
    columns = ecg.columns | ppg.columns
    columns["ecg_template_correlation"] = template_correlation(ecg.signal, *ecg_beats, rate_hz, ECG_SPAN_S)
    columns["ppg_template_correlation"] = template_correlation(ppg.signal, *ppg_beats, rate_hz, PPG_SPAN_S)
    return WindowBatch(
        record=wanted.header.path,
        window=wanted.windows,
        start_sample=wanted.start,
        start_seconds=(wanted.windows * wanted.config.build.segment_seconds).astype(np.float64),
        signal=signal.swapaxes(0, 1),
        quantum=np.stack([ecg.quantum, ppg.quantum], axis=1),
        present=np.stack([ecg.reason == Reason.KEPT, ppg.reason == Reason.KEPT], axis=1),
        ecg_channel=ecg.channel,
        ppg_channel=ppg.channel,
        quality={column.name: columns[column.name] for column in QUALITY_COLUMNS},
        rhythm=rhythm.rhythm(rhythm.intervals(*ecg_beats), rhythm.intervals(*ppg_beats), n),
        reason=quality.window_reasons(wanted.config.data.require, ecg.reason, ppg.reason),
        signal_reason=np.stack([ecg.reason, ppg.reason], axis=1),
    )


def _empty(kind: int, signal: Float32) -> _Kind:
    n, prefix = len(signal), "ecg_" if kind == ECG else "ppg_"
    names = [c.name for c in QUALITY_COLUMNS if c.name.startswith(prefix)]
    return _Kind(
        signal=signal,
        quantum=np.zeros(n, np.float32),
        channel=np.full(n, NO_CHANNEL, np.uint8),
        reason=np.full(n, Reason.NO_CHANNEL, np.uint8),
        columns=dict(zip(names, np.full((len(names), n), np.nan, np.float32), strict=True)),
        beat_window=[],
        beat_time_s=[],
    )


def _fill(filled: _Kind, kind: int, track: Track, wanted: _Wanted) -> None:
    """Fills the windows that this track holds and no earlier track filled."""
    todo = _covered(filled, track, wanted)
    if not len(todo):
        return
    rows = read_rows(track, wanted.windows[todo], wanted.config.build.segment_seconds, wanted.geometry, wanted.samples)
    for segment, problem in rows.lost:
        wanted.tell(problem)
        hit = (wanted.start[todo] < segment.stop_sample) & (wanted.stop[todo] > segment.start_sample)
        _note(filled.reason, todo[hit], problem.reason)
    found = todo[rows.window]
    _note(filled.reason, np.setdiff1d(todo, found, assume_unique=True), Reason.MISSING_SAMPLES)
    if not len(found):
        return
    start, stop = wanted.start[found], wanted.stop[found]
    step = least_over_parts(track, start, stop, lambda s, c: s.signals[c].adc_step)
    # The least of "has a gain": 0 as soon as one segment has none.
    calibrated = least_over_parts(track, start, stop, lambda s, c: float(s.signals[c].gain != 0))
    run = slice(found[0], found[0] + len(found)) if found[-1] - found[0] + 1 == len(found) else None
    filtered = filled.signal[found if run is None else run]
    result = _judged(kind, rows, calibrated == 0, wanted, filtered)
    good = result.reason == Reason.KEPT
    fresh = _IS_OPEN[filled.reason[found]]
    _note(filled.reason, found[~good], result.reason[~good])
    keep = found[good]
    filled.reason[keep] = Reason.KEPT
    if run is None:
        filled.signal[keep] = filtered[good]
    filled.quantum[keep] = quantum_of(step, result.sd, result.peak)[good]
    filled.channel[keep] = track.preference
    # A rejected window shows the columns of the channel whose reason it has.
    shown = good | fresh
    for name, values in result.columns.items():
        filled.columns[name][found[shown]] = values[shown]
    beat = good[result.beat_window]
    filled.beat_window.append(found[result.beat_window[beat]])
    filled.beat_time_s.append(result.beat_time_s[beat])


def _covered(filled: _Kind, track: Track, wanted: _Wanted) -> Int64:
    """Windows still to fill that the track records without a gap, by headers; marks those that touch one."""
    todo = np.flatnonzero(filled.reason != Reason.KEPT)
    todo = todo[np.isfinite(least_over_parts(track, wanted.start[todo], wanted.stop[todo], lambda s, c: 0.0))]
    if not len(todo):
        return todo
    filled.reason[todo[filled.reason[todo] == Reason.NO_CHANNEL]] = Reason.GAP
    frames = wanted.config.build.segment_seconds * wanted.header.sampling_rate_hz
    first, last = wanted.windows[todo] * frames, (wanted.windows[todo] + 1) * frames
    begin, end = np.array(track.spans()).T
    span = np.searchsorted(begin, first + 1e-6, side="right") - 1
    return todo[(span >= 0) & (last <= end[np.maximum(span, 0)] + 1e-6)]


def _note(reason: NDArray[np.uint8], where: Int64, value: NDArray[np.uint8] | Reason) -> None:
    """Sets the reason where nothing better than "no channel" or "gap" is known yet."""
    open_to = _IS_OPEN[reason[where]]
    reason[where[open_to]] = value[open_to] if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class _Judged:
    """What was found in the windows of some rows; beats sorted by window and time, times from the window's start."""

    sd: Float32
    peak: Float32
    reason: NDArray[np.uint8]
    columns: dict[str, Float32]
    beat_window: Int64
    beat_time_s: NDArray[np.float64]


def _judged(kind: int, rows: Rows, uncalibrated: Bool, wanted: _Wanted, filtered: Float32) -> _Judged:
    """Judges the windows of ``rows``, and fills ``filtered`` (w, t), contiguous, with them."""
    build, geometry = wanted.config.build, wanted.geometry
    prefix, band_hz = ("ecg", build.ecg_band_hz) if kind == ECG else ("ppg", build.ppg_band_hz)
    bins = spectrum(rows.rows)
    found = (beats.r_peaks if kind == ECG else beats.pulses)(bins, geometry.n, geometry.rate_hz)
    window, time_s = beats_of(found, rows, geometry)
    response = band_pass_response(geometry.n, geometry.rate_hz, band_hz)
    windows_of(apply_response(bins, response, geometry.n), rows, geometry).copy_to(filtered)
    raw = windows_of(rows.rows, rows, geometry)
    moments = quality.moments(filtered)
    columns = moments.columns(prefix) | {
        f"{prefix}_{name}": values.astype(np.float32) for name, values in rows.faults.items()
    }
    columns[f"{prefix}_uncalibrated"] = uncalibrated.astype(np.float32)
    if kind == ECG:
        columns |= quality.ecg_spectrum(raw, geometry.rate_hz)
        silent = (moments.highest - moments.lowest < quality.SILENT_RANGE_MV) & ~uncalibrated
        columns["ecg_silent"] = silent.astype(np.float32)
        # What stands out of a noise floor is noise.
        window, time_s = window[~silent[window]], time_s[~silent[window]]
        reason = quality.ecg_reasons(columns)
    else:
        columns |= quality.ppg_spectrum(raw, geometry.rate_hz)
        reason = quality.ppg_reasons(columns)
    peak = np.maximum(moments.highest, -moments.lowest)
    return _Judged(moments.sd, peak, reason, columns, window, time_s)


def _sorted_beats(filled: _Kind) -> tuple[Int64, NDArray[np.float64]]:
    if not filled.beat_window:
        return np.zeros(0, np.int64), np.zeros(0)
    if len(filled.beat_window) == 1:  # of one channel, and so in order
        return filled.beat_window[0], filled.beat_time_s[0]
    window, time_s = np.concatenate(filled.beat_window), np.concatenate(filled.beat_time_s)
    order = np.lexsort((time_s, window))
    return window[order], time_s[order]


def _blame_segments(reason: NDArray[np.uint8], wanted: _Wanted) -> None:
    """A window without a channel that touches an unusable segment was lost by that segment."""
    for segment in wanted.header.segments:
        if segment.problem is not None:
            hit = (wanted.start < segment.stop_sample) & (wanted.stop > segment.start_sample)
            _note(reason, np.flatnonzero(hit), segment.problem.reason)
