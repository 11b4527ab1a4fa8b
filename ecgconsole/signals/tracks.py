"""A channel through all segments of a record: where it is recorded, and its samples on the record's clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgconsole.signals.headers import Problem, RecordHeader, SegmentHeader
from ecgconsole.signals.quality import FLAT_RUN_S, MAXIMUM_MISSING_RUN_S, clipped, constant, members, runs, share_of
from ecgconsole.signals.reading import SegmentError, SegmentSamples, physical_of

Float32 = NDArray[np.float32]
Span = tuple[int, int]


@dataclass(frozen=True)
class Track:
    """One channel name at one rate. ``parts``: usable segments that hold it, with the channel's number in each."""

    preference: int
    rate_hz: float
    samples_per_frame: int
    parts: tuple[tuple[SegmentHeader, int], ...]

    def spans(self) -> list[Span]:
        """Stretches of frames recorded without a gap, by headers."""
        return joined([(s.start_sample, s.stop_sample) for s, _ in self.parts])


@dataclass(frozen=True)
class Piece:
    """Samples of a track from ``first`` (channel sample on the record's clock) on.

    ``samples`` float32, missing runs up to 0.2 s interpolated; ``spans``: stretches without longer ones,
    in indices of ``samples``; ``missing`` and ``clipped``: which samples were interpolated, which lie in
    plateaus at their segment's limits (None: none); ``lost``: segments that could not be decoded.
    """

    first: int
    samples: Float32
    spans: list[Span]
    missing: NDArray[np.bool_] | None
    clipped: NDArray[np.bool_] | None
    lost: tuple[tuple[SegmentHeader, Problem], ...]


def tracks_of(header: RecordHeader, names: tuple[str, ...]) -> list[Track]:
    """Tracks of the wanted channel names (case ignored), in order of preference."""
    wanted = {name.casefold(): i for i, name in reversed(list(enumerate(names)))}
    parts: dict[tuple[int, int], list[tuple[SegmentHeader, int]]] = {}
    for segment in header.segments:
        if segment.problem is not None:
            continue
        seen: set[int] = set()
        for channel, signal in enumerate(segment.signals):
            preference = wanted.get(signal.name.casefold())
            # A name that appears twice in a segment means its first channel.
            if preference is not None and preference not in seen and signal.file != "~":
                seen.add(preference)
                parts.setdefault((preference, signal.samples_per_frame), []).append((segment, channel))
    rate_hz = header.sampling_rate_hz
    return [Track(p, rate_hz * spf, spf, tuple(held)) for (p, spf), held in sorted(parts.items(), key=lambda x: x[0])]


def channel_seconds(header: RecordHeader) -> dict[str, float]:
    """Seconds recorded under each channel name, by headers: what is there, and which names nobody asks for."""
    seconds: dict[str, float] = {}
    for segment in header.segments:
        if segment.problem is None:
            for name in {s.name for s in segment.signals if s.file != "~"}:
                seconds[name] = seconds.get(name, 0.0) + segment.length_samples / header.sampling_rate_hz
    return dict(sorted(seconds.items()))


def joined(intervals: list[Span]) -> list[Span]:
    """Sorted intervals, those that touch made one."""
    result: list[Span] = []
    for start, stop in intervals:
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        elif stop > start:
            result.append((start, stop))
    return result


def read_piece(track: Track, samples: SegmentSamples, start: int, stop: int) -> Piece:
    """Channel samples ``start`` to ``stop`` on the record's clock (negative or beyond the end: cut)."""
    per_frame = track.samples_per_frame
    start_frame, stop_frame = max(0, start // per_frame), -(-stop // per_frame)
    parts = [
        (s, c)
        for s, c in track.parts
        if s.start_sample < stop_frame and s.start_sample + s.length_samples > start_frame
    ]
    if parts:
        last = parts[-1][0]
        stop_frame = min(stop_frame, last.stop_sample)
    else:
        stop_frame = start_frame
    physical = np.empty((stop_frame - start_frame) * per_frame, np.float32)
    limited = np.zeros(len(physical), bool)
    recorded: list[Span] = []
    lost: list[tuple[SegmentHeader, Problem]] = []
    for segment, channel in parts:
        a = max(start_frame - segment.start_sample, 0)
        b = min(stop_frame - segment.start_sample, segment.length_samples)
        try:
            limits = samples.verify(segment, (channel,))[channel]
            codes = samples.codes(segment, channel, a, b)
        except SegmentError as error:
            lost.append((segment, error.problem))
            continue
        at = (segment.start_sample + a - start_frame) * per_frame
        place = slice(at, at + (b - a) * per_frame)
        physical_of(codes, segment.signals[channel], physical[place])
        limited[place] = clipped(codes, limits.lowest, limits.highest)
        recorded.append((place.start, place.stop))
    recorded = joined(recorded)
    edges = [0, *(edge for span in recorded for edge in span), len(physical)]
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        physical[a:b] = np.nan
    spans, missing = bridged(physical, recorded, round(MAXIMUM_MISSING_RUN_S * track.rate_hz))
    if missing is not None:
        limited &= ~missing
    return Piece(start_frame * per_frame, physical, spans, missing, limited if limited.any() else None, tuple(lost))


def bridged(physical: Float32, recorded: list[Span], longest: int) -> tuple[list[Span], NDArray[np.bool_] | None]:
    """Fills missing runs of up to ``longest`` samples in place, linearly; longer ones cut the spans.

    At the end of what is recorded there is one neighbour only: its value is held.
    """
    missing = np.isnan(physical)
    if not missing.any():
        return recorded, None
    spans: list[Span] = []
    filled = np.zeros(len(physical), bool)
    for start, stop in recorded:
        first, last = (edge + start for edge in runs(missing[start:stop]))
        short = (last - first <= longest) & (last - first < stop - start)
        begin = start
        for a, b in zip(first[~short].tolist(), last[~short].tolist(), strict=True):
            if a > begin:
                spans.append((begin, a))
            begin = b
        if stop > begin:
            spans.append((begin, stop))
        first, last = first[short], last[short]
        _interpolate(physical, first, last, start, stop)
        filled[members(first, last)] = True
    return spans, filled


def _interpolate(samples: Float32, first: NDArray[np.int64], stop: NDArray[np.int64], begin: int, end: int) -> None:
    """Fills each gap by a line from the sample before it to the one after it, in place.

    Where one of them would lie outside ``begin`` to ``end``, the value of the other is held.
    """
    before, after = samples[np.maximum(first - 1, 0)], samples[np.minimum(stop, len(samples) - 1)]
    left = np.where(first > begin, before, after).astype(np.float64)
    right = np.where(stop < end, after, before).astype(np.float64)
    gap = np.repeat(np.arange(len(first)), stop - first)
    where = members(first, stop)
    samples[where] = ((right - left) / (stop - first + 1))[gap] * (where - (first - 1)[gap]) + left[gap]


def window_faults(
    piece: Piece, rate_hz: float, first: NDArray[np.int64], stop: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """``missing_share``, ``flat_share``, ``clipped_share`` of windows ``first`` to ``stop`` (channel samples)."""
    a, b = first - piece.first, stop - piece.first
    masks = {
        "missing_share": piece.missing,
        "flat_share": constant(piece.samples, round(FLAT_RUN_S * rate_hz)),
        "clipped_share": piece.clipped,
    }
    return {
        name: np.zeros(len(a)) if mask is None or not mask.any() else share_of(mask, a, b)
        for name, mask in masks.items()
    }


def least_over_parts(
    track: Track, first: NDArray[np.int64], stop: NDArray[np.int64], value: Callable[[SegmentHeader, int], float]
) -> NDArray[np.float64]:
    """The least ``value(segment, channel)`` among the segments that each window of frames touches."""
    result = np.full(len(first), np.inf)
    if not len(first):
        return result
    low, high = first.min(), stop.max()
    for segment, channel in track.parts:
        begin, end = segment.start_sample, segment.stop_sample
        if begin < high and end > low:
            touched = (first < end) & (stop > begin)
            result[touched] = np.minimum(result[touched], value(segment, channel))
    return result
