"""Rows of fixed length out of contiguous spans: the unit in which filters and beat detectors work.

A row is a block of windows within one span of a track, with context on both sides, mirrored beyond the
span's ends. Blocks lie at fixed places on the record's clock, so a window's values do not depend on
which other windows are asked for, nor on how much is computed at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecgconsole.signals.beats import Beats
from ecgconsole.signals.cuts import Cut
from ecgconsole.signals.filtering import context_seconds, mirrored, rate_ratio, resample
from ecgconsole.signals.headers import Problem, SegmentHeader
from ecgconsole.signals.reading import SegmentSamples
from ecgconsole.signals.tracks import Track, read_piece, window_faults

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

BLOCK_SECONDS = 120.0
# Read beyond a row, so that the ends of what is read never reach into it.
_MARGIN_SECONDS = 2.0


@dataclass(frozen=True)
class Geometry:
    """Of rows: ``samples`` a window, ``windows`` a block, ``context`` samples on both sides, ``n`` in all."""

    rate_hz: float
    samples: int
    windows: int
    context: int
    n: int


@lru_cache(maxsize=8)
def geometry_of(
    rate_hz: float, segment_seconds: float, ecg_band_hz: tuple[float, float], ppg_band_hz: tuple[float, float]
) -> Geometry:
    """Blocks of about 120 s, context longer than the filters ring, a length that suits the FFT."""
    from scipy import fft

    samples = round(rate_hz * segment_seconds)
    windows = max(1, round(BLOCK_SECONDS / segment_seconds))
    context = int(np.ceil(rate_hz * max(context_seconds(ecg_band_hz), context_seconds(ppg_band_hz))))
    n = windows * samples + 2 * context
    while (n - windows * samples) % 2 or fft.next_fast_len(n, real=True) != n:
        n += 1
    return Geometry(rate_hz, samples, windows, (n - windows * samples) // 2, n)


@dataclass(frozen=True)
class Rows:
    """Rows (r, n) of contiguous samples at the dataset's rate, and the windows found in them.

    ``window`` (w,) indexes the windows that were asked for; each lies in ``row`` (w,), at ``slot`` (w,).
    ``faults``: shares (w,) of missing, flat and clipped samples. ``lost``: segments that were undecodable.
    """

    rows: Float32
    window: Int64
    row: Int64
    slot: Int64
    faults: dict[str, NDArray[np.float64]]
    lost: list[tuple[SegmentHeader, Problem]]


def read_rows(
    track: Track, windows: Int64, segment_seconds: float, geometry: Geometry, samples: SegmentSamples
) -> Rows:
    """The rows that hold ``windows`` (sorted numbers); windows that no span holds whole are left out."""
    ratio = rate_ratio(track.rate_hz, geometry.rate_hz)
    size = geometry.windows * geometry.samples
    first = np.rint(windows * segment_seconds * track.rate_hz).astype(np.int64)
    stop = np.rint((windows + 1) * segment_seconds * track.rate_hz).astype(np.int64)
    blocks = windows // geometry.windows
    margin = geometry.context / geometry.rate_hz + _MARGIN_SECONDS
    pieces: list[tuple[Float32, Int64]] = []
    placed: list[Int64] = []
    found: list[Int64] = []
    n_rows = 0
    faults: list[dict[str, NDArray[np.float64]]] = []
    lost: list[tuple[SegmentHeader, Problem]] = []
    runs = np.concatenate([[0], np.flatnonzero(np.diff(blocks) > 1) + 1, [len(blocks)]])
    for a, b in zip(runs[:-1].tolist(), runs[1:].tolist(), strict=True):
        begin_s = blocks[a] * geometry.windows * segment_seconds - margin
        end_s = (blocks[b - 1] + 1) * geometry.windows * segment_seconds + margin
        piece = read_piece(track, samples, int(begin_s * track.rate_hz), int(end_s * track.rate_hz))
        lost += piece.lost
        members: list[Int64] = []
        for span in piece.spans:
            inside = a + np.flatnonzero((first[a:b] >= span[0] + piece.first) & (stop[a:b] <= span[1] + piece.first))
            if not len(inside):
                continue
            resampled, origin = resample(piece.samples[span[0] : span[1]], span[0] + piece.first, ratio)
            of_span, row = np.unique(blocks[inside], return_inverse=True)
            pieces.append((resampled, of_span * size - geometry.context - origin))
            placed.append(row + n_rows)
            n_rows += len(of_span)
            members.append(inside)
        if members:
            found.append(np.concatenate(members))
            faults.append(window_faults(piece, track.rate_hz, first[found[-1]], stop[found[-1]]))
    window = _joined(found)
    return Rows(
        rows=_rows_of(pieces, n_rows, geometry.n),
        window=window,
        row=_joined(placed),
        slot=windows[window] % geometry.windows,
        faults={name: np.concatenate([f[name] for f in faults]) for name in faults[0]} if faults else {},
        lost=lost,
    )


def _rows_of(pieces: list[tuple[Float32, Int64]], r: int, n: int) -> Float32:
    """Rows (r, n) of samples from each start on, mirrored beyond both ends."""
    rows = np.empty((r, n), np.float32)
    cuts = ((samples, a) for samples, start in pieces for a in start.tolist())
    for row, (samples, a) in zip(rows, cuts, strict=True):
        row[:] = mirrored(samples, a, a + n)
    return rows


def _joined(parts: list[Int64]) -> Int64:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def windows_of(rows: Float32, found: Rows, geometry: Geometry) -> Cut:
    """Windows out of rows (r, n)."""
    start = found.row * geometry.n + geometry.context + found.slot * geometry.samples
    return Cut(rows.reshape(-1), start, geometry.samples)


def beats_of(found: Beats, rows: Rows, geometry: Geometry) -> tuple[Int64, NDArray[np.float64]]:
    """Beats inside the windows: index of the window, seconds from its start."""
    seconds = geometry.samples / geometry.rate_hz
    time_s = found.time_s - geometry.context / geometry.rate_hz
    slot = np.floor(time_s / seconds).astype(np.int64)
    inside = (slot >= 0) & (slot < geometry.windows)
    place = np.full((len(rows.rows), geometry.windows), -1, np.int64)
    place[rows.row, rows.slot] = np.arange(len(rows.row))
    window = place[found.row[inside], slot[inside]]
    return window[window >= 0], (time_s - slot * seconds)[inside][window >= 0]
