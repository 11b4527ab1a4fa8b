"""R peaks and pulses, vectorised over rows of contiguous samples.

QRS complexes: the magnitude of the ECG's convolution with one complex Morlet wavelet (13 Hz, 35 ms)
has one bump a complex, whatever the polarity, wide complexes included. Pulses: bumps of the smoothed
upslope of the PPG. Both then meet the same rules, vectorised over all candidates of all rows.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ecgconsole.signals import compiled
from ecgconsole.signals.filtering import scale

Float32 = NDArray[np.float32]
Indices = NDArray[np.int64]

MORLET_HZ = 13.0
MORLET_SIGMA_S = 0.035
UPSLOPE_SIGMA_S = 0.04
# Bumps are sampled at least this often; a parabola through the maximum gives the time between samples.
_BUMP_RATE_HZ = 60.0
_TINY = np.float32(1e-12)


@dataclass(frozen=True)
class BeatRules:
    """How bumps become beats.

    Thresholds lie between the running median of refused heights (0) and of accepted heights (1).
    """

    suppression_s: float
    threshold: float
    echo_s: float
    echo_threshold: float
    back_rr: float
    back_threshold: float


# T waves follow within 0.34 s and are lower; a long pause is searched again with a lower threshold.
R_PEAKS = BeatRules(0.25, 0.28, 0.34, 0.55, 1.5, 0.15)
# The dicrotic wave follows within 0.4 s and is lower.
PULSES = BeatRules(0.28, 0.25, 0.4, 0.5, 1.6, 0.15)


@dataclass(frozen=True)
class Beats:
    """Beats of rows, sorted: ``row`` (b,), ``time_s`` (b,) from the row's first sample, ``height`` (b,) of the bump."""

    row: Indices
    time_s: NDArray[np.float64]
    height: Float32


def r_peaks(spectrum: NDArray[np.complex64], n: int, sampling_rate_hz: float) -> Beats:
    """R peaks of rows from their ``rfft`` (r, n // 2 + 1)."""
    bumps, rate_hz = qrs_bumps(spectrum, n, sampling_rate_hz)
    return find_beats(bumps, rate_hz, R_PEAKS)


def pulses(spectrum: NDArray[np.complex64], n: int, sampling_rate_hz: float) -> Beats:
    """Pulses of rows (time of the steepest upslope) from their ``rfft`` (r, n // 2 + 1)."""
    bumps, rate_hz = upslope_bumps(spectrum, n, sampling_rate_hz)
    return find_beats(bumps, rate_hz, PULSES)


def qrs_bumps(spectrum: NDArray[np.complex64], n: int, sampling_rate_hz: float) -> tuple[Float32, float]:
    """Magnitude of the Morlet transform (r, m), and its rate in Hz."""
    from scipy import fft

    m = _decimated(n, sampling_rate_hz)
    response = _morlet(n, m, sampling_rate_hz)
    k = len(response)
    bins = np.zeros((len(spectrum), m), np.complex64)
    scale(spectrum[:, :k], response, bins[:, :k])
    return np.abs(fft.ifft(bins, axis=1, overwrite_x=True)), sampling_rate_hz * m / n


def upslope_bumps(spectrum: NDArray[np.complex64], n: int, sampling_rate_hz: float) -> tuple[Float32, float]:
    """Positive part of the derivative of the smoothed signal (r, m), per second, and its rate in Hz."""
    from scipy import fft

    m = _decimated(n, sampling_rate_hz)
    response = _upslope(n, m, sampling_rate_hz)
    slope = fft.irfft(spectrum[:, : len(response)] * response, m, axis=1, overwrite_x=True)
    return np.maximum(slope, 0, out=slope), sampling_rate_hz * m / n


def find_beats(bumps: Float32, rate_hz: float, rules: BeatRules) -> Beats:
    """Beats among the maxima of ``bumps`` (r, m)."""
    if not compiled.available():
        return find_beats_by_numpy(bumps, rate_hz, rules)
    bumps = np.ascontiguousarray(bumps)
    r, m = bumps.shape
    room = r * (m // 2) + 1
    row, time_s, height = np.empty(room, np.int64), np.empty(room), np.empty(room, np.float32)
    n = compiled.call("find_beats", bumps, r, m, _compiled_rules(rate_hz, rules), row, time_s, height)
    # Copies: the room is many times what is found.
    return Beats(row[:n].copy(), time_s[:n].copy(), height[:n].copy())


def find_beats_by_numpy(bumps: Float32, rate_hz: float, rules: BeatRules) -> Beats:
    """``find_beats`` where nothing is compiled."""
    row, position, height = _maxima(bumps, round(rules.suppression_s * rate_hz))
    time_s = position / rate_hz
    accepted = height > 0.35 * _first_reference(bumps, rate_hz, row, position)
    relative = height
    for _ in range(2):
        floor, usual = _running_medians(row, height, (~accepted, accepted))
        relative = (height - floor) / np.maximum(usual - floor, _TINY)
        accepted = relative > rules.threshold
        accepted &= ~_echoes(row, time_s, height, accepted, rules)
    accepted |= _found_back(row, time_s, relative, accepted, rules)
    return Beats(row[accepted], time_s[accepted], height[accepted])


class _CompiledRules(ctypes.Structure):
    """``Rules`` of ``kernels.c``."""

    _fields_ = (
        ("rate_hz", ctypes.c_double),
        ("echo_s", ctypes.c_double),
        ("reach", ctypes.c_int64),
        ("first_reference_samples", ctypes.c_int64),
        ("threshold", ctypes.c_float),
        ("echo_threshold", ctypes.c_float),
        ("back_rr", ctypes.c_float),
        ("back_threshold", ctypes.c_float),
    )


def _compiled_rules(rate_hz: float, rules: BeatRules) -> _CompiledRules:
    reach = round(rules.suppression_s * rate_hz)
    thresholds = (rules.threshold, rules.echo_threshold, rules.back_rr, rules.back_threshold)
    return _CompiledRules(rate_hz, rules.echo_s, reach, _reference_samples(rate_hz), *thresholds)


def _decimated(n: int, sampling_rate_hz: float) -> int:
    """Length of a row of bumps: n over the largest divisor of n that keeps their rate above the minimum."""
    for divisor in range(max(1, int(sampling_rate_hz / _BUMP_RATE_HZ)), 0, -1):
        if n % divisor == 0:
            return n // divisor
    return n


@lru_cache(maxsize=16)
def _morlet(n: int, m: int, sampling_rate_hz: float) -> Float32:
    """Gaussian on positive frequencies alone: the inverse transform is the complex Morlet transform."""
    frequency_hz = np.arange(min(m, n // 2 + 1)) * sampling_rate_hz / n
    response = np.exp(-2 * (np.pi * MORLET_SIGMA_S * (frequency_hz - MORLET_HZ)) ** 2)
    response[0] = 0
    # 2: a real signal has half of its amplitude at negative frequencies. m / n: shorter inverse transform.
    return (2 * m / n * response).astype(np.float32)


@lru_cache(maxsize=16)
def _upslope(n: int, m: int, sampling_rate_hz: float) -> NDArray[np.complex64]:
    frequency_hz = np.arange(m // 2 + 1) * sampling_rate_hz / n
    smooth = np.exp(-2 * (np.pi * UPSLOPE_SIGMA_S * frequency_hz) ** 2)
    # Respiration and wander below 0.4 Hz.
    smooth *= frequency_hz**4 / (frequency_hz**4 + 0.4**4)
    return (m / n * 2j * np.pi * frequency_hz * smooth).astype(np.complex64)


def _maxima(bumps: Float32, reach: int) -> tuple[Indices, NDArray[np.float64], Float32]:
    """Row, position (fraction of samples) and height of maxima without a higher one within ``reach`` samples."""
    rising = bumps[:, 1:] > bumps[:, :-1]
    row, column = np.divmod(np.flatnonzero(rising[:, :-1] & ~rising[:, 1:]), bumps.shape[1] - 2)
    column += 1
    height = bumps[row, column]
    while True:
        # Rows apart by more than the reach, so that one difference tells who is near.
        place = row * (bumps.shape[1] + reach) + column
        below = _beside_higher(place, height, np.ones(len(row), bool), reach)
        # Only who has nobody higher beside it silences: who is silenced silences nobody.
        silenced = _beside_higher(place, height, ~below, reach)
        if not silenced.any():
            break
        row, column, height = row[~silenced], column[~silenced], height[~silenced]
    before, after = bumps[row, column - 1], bumps[row, column + 1]
    bend = before - 2 * height + after
    offset = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend < 0)
    return row, column + offset.astype(np.float64), height


def _beside_higher(place: Indices, height: Float32, who: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Which have a higher one (the earlier of equals) among ``who`` within ``reach``."""
    beside = np.zeros(len(place), bool)
    for offset in range(1, reach + 1):
        near = place[offset:] - place[:-offset] <= reach
        if not near.any():
            break
        falls = height[offset:] <= height[:-offset]
        beside[offset:] |= near & falls & who[:-offset]
        beside[:-offset] |= near & ~falls & who[offset:]
    return beside


def _reference_samples(rate_hz: float) -> int:
    return max(1, round(2 * rate_hz))


def _first_reference(bumps: Float32, rate_hz: float, row: Indices, position: NDArray[np.float64]) -> Float32:
    """Before any beat is known: running median over 9 of the highest bump in each 2 s."""
    size = _reference_samples(rate_hz)
    bins = max(1, bumps.shape[1] // size)
    highest = bumps[:, : bins * size].reshape(len(bumps), bins, -1).max(axis=2)
    around = sliding_window_view(np.pad(highest, ((0, 0), (4, 4)), mode="edge"), 9, axis=1)
    reference = np.partition(around, 4, axis=2)[:, :, 4]
    return reference[row, np.minimum(position.astype(np.int64) // size, bins - 1)]


def _running_medians(
    row: Indices, height: Float32, groups: tuple[NDArray[np.bool_], ...], size: int = 17
) -> list[Float32]:
    """At each candidate, the median height of the ``size`` members of each group around it in its row, 0 for none."""
    from scipy import ndimage

    if not any(group.any() for group in groups):
        return [np.zeros_like(height) for _ in groups]
    rows = int(row[-1]) + 1
    counts = np.stack([np.bincount(row[group], minlength=rows) for group in groups])
    start = np.cumsum(counts).reshape(counts.shape) - counts
    heights = np.concatenate([height[group] for group in groups])
    # Rows one after another, their ends repeated, so that one pass over a line never mixes rows.
    reach = size // 2
    width = int(counts.max()) + 2 * reach
    last = np.maximum(counts - 1, 0)
    index = start[..., None] + np.clip(np.arange(width) - reach, 0, last[..., None])
    line = heights[np.minimum(index, len(heights) - 1)].reshape(-1)
    medians = ndimage.median_filter(line, size=size, mode="nearest").reshape(*counts.shape, width)[..., reach:]
    medians[counts == 0] = 0
    results = []
    for group, before, of_row, median in zip(groups, start - start[:, :1], last, medians, strict=True):
        rank = np.cumsum(group) - group - before[row]
        results.append(median[row, np.clip(rank, 0, of_row[row])])
    return results


def _echoes(
    row: Indices, time_s: NDArray[np.float64], height: Float32, accepted: NDArray[np.bool_], rules: BeatRules
) -> NDArray[np.bool_]:
    """Accepted beats that follow another closely and are much lower: T waves, dicrotic waves."""
    echo = np.zeros(len(row), bool)
    index = np.flatnonzero(accepted)
    if len(index) > 1:
        first, second = index[:-1], index[1:]
        close = (row[first] == row[second]) & (time_s[second] - time_s[first] < rules.echo_s)
        echo[second[close & (height[second] < rules.echo_threshold * height[first])]] = True
    return echo


def _found_back(
    row: Indices, time_s: NDArray[np.float64], relative: Float32, accepted: NDArray[np.bool_], rules: BeatRules
) -> NDArray[np.bool_]:
    """The highest refused candidate of each long gap between accepted beats."""
    found = np.zeros(len(row), bool)
    index = np.flatnonzero(accepted)
    if len(index) < 3:
        return found
    rr_s = np.diff(time_s[index])
    rr_s[row[index[1:]] != row[index[:-1]]] = np.nan
    (typical_s,) = _running_medians(row[index[1:]], _filled(rr_s).astype(np.float32), (np.isfinite(rr_s),), 9)
    gap = rr_s > rules.back_rr * typical_s
    # Each refused candidate: the gap it lies in, numbered by the beat before it.
    before = np.cumsum(accepted) - 1
    open_to = (before >= 0) & (before < len(index) - 1) & ~accepted
    candidates = np.flatnonzero(open_to)
    candidates = candidates[gap[before[candidates]]]
    inside = before[candidates]
    left_s, right_s = time_s[candidates] - time_s[index[inside]], time_s[index[inside + 1]] - time_s[candidates]
    keep = (relative[candidates] > rules.back_threshold) & (np.minimum(left_s, right_s) > rules.echo_s)
    candidates, inside = candidates[keep], inside[keep]
    if len(candidates):
        order = np.lexsort((-relative[candidates], inside))
        first = np.concatenate([[True], np.diff(inside[order]) > 0])
        found[candidates[order][first]] = True
    return found


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, 0.0)
