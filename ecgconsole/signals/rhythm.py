"""Rhythm of windows from their beats, vectorised over windows. Nothing here decides what is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgconsole.signals import compiled

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

MINIMUM_BEATS = 3
IRREGULAR_SHARE = 0.1
EARLY_SHARE = 0.8
ENTROPY_TOLERANCE = 0.1


class Column(NamedTuple):
    """A named column of the dataset: unit (``1`` for a share or a count), meaning, and source of the formula."""

    name: str
    unit: str
    description: str
    source: str


_TASK_FORCE = "Task Force of the ESC and NASPE, Circulation 93:1043 (1996)"

RHYTHM_COLUMNS = (
    Column("heart_rate_bpm", "1/min", "60 / mean RR of the beats inside the segment, of every type", _TASK_FORCE),
    Column("rr_cv", "1", "standard deviation / mean of the RR intervals", "Tateno and Glass, MBEC 39:664 (2001)"),
    Column("rmssd_ms", "ms", "root mean square of successive RR differences", _TASK_FORCE),
    Column("rmssd_normalised", "1", "rmssd / mean RR", "Dash, ABE 37:1701 (2009)"),
    Column("median_rr_s", "s", "median RR interval", "-"),
    Column("rr_irregular_share", "1", "share of successive RR differences above a tenth of the median RR", "-"),
    Column(
        "rr_entropy",
        "1",
        "sample entropy of the RR intervals (length 1, tolerance a tenth of their median, one added to both counts),"
        " less ln of the median RR in s; needs four beats",
        "after Lake and Moorman, Am. J. Physiol. 300:H319 (2011)",
    ),
    Column("early_beats", "1", "RR intervals below 0.8 of the median RR", "-"),
    Column("pulse_rate_bpm", "1/min", "60 / median interval of the PPG pulses inside the segment", "-"),
    Column("ecg_ppg_agreement", "1", "smaller / larger of the median RR and the median pulse interval", "-"),
)


class Intervals(NamedTuple):
    """Intervals between successive beats of one window: ``window`` (i,), ``seconds`` (i,), in time order."""

    window: NDArray[np.int64]
    seconds: NDArray[np.float64]


def intervals(window: NDArray[np.int64], time_s: NDArray[np.float64]) -> Intervals:
    """From beats sorted by window and time."""
    same = window[1:] == window[:-1]
    return Intervals(window[1:][same], np.diff(time_s)[same])


class _Statistics(NamedTuple):
    """Of each window's intervals, float64 (n,) each, as ``STATISTICS`` of ``kernels.c``; 0 where it has none.

    ``changes`` from one interval to the next, the sum of their squares, and how many are ``irregular``; how many
    intervals are ``early``. For the sample entropy: ``pairs`` of intervals, those alike (``of_one``), and those alike
    whose next ones are alike too (``of_two``).
    """

    number: Float64
    mean_s: Float64
    median_s: Float64
    variance_s2: Float64
    changes: Float64
    squared_change_s2: Float64
    irregular: Float64
    early: Float64
    pairs: Float64
    of_one: Float64
    of_two: Float64


def rhythm(rr: Intervals, pulse: Intervals, n: int) -> dict[str, Float32]:
    """The columns of ``RHYTHM_COLUMNS`` for ``n`` windows, NaN where a window has fewer than three beats."""
    of_rr, of_pulse = _statistics(rr, n), _statistics(pulse, n)
    known, pulse_known = of_rr.number >= MINIMUM_BEATS - 1, of_pulse.number >= MINIMUM_BEATS - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        rms_s = np.sqrt(of_rr.squared_change_s2 / of_rr.changes)
        entropy = np.where(of_rr.pairs > 0, np.log((of_rr.of_one + 1) / (of_rr.of_two + 1)), np.nan)
        columns = {
            "heart_rate_bpm": 60 / of_rr.mean_s,
            "rr_cv": np.sqrt(of_rr.variance_s2) / of_rr.mean_s,
            "rmssd_ms": 1000 * rms_s,
            "rmssd_normalised": rms_s / of_rr.mean_s,
            "median_rr_s": of_rr.median_s,
            "rr_irregular_share": of_rr.irregular / of_rr.changes,
            "rr_entropy": entropy - np.log(of_rr.median_s),
            "early_beats": of_rr.early,
        }
        pulse_rate_bpm = 60 / of_pulse.median_s
        agreement = np.minimum(of_rr.median_s, of_pulse.median_s) / np.maximum(of_rr.median_s, of_pulse.median_s)
    columns = {name: np.where(known, values, np.nan) for name, values in columns.items()}
    columns["pulse_rate_bpm"] = np.where(pulse_known, pulse_rate_bpm, np.nan)
    columns["ecg_ppg_agreement"] = np.where(known & pulse_known, agreement, np.nan)
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _statistics(of: Intervals, n: int) -> _Statistics:
    if not compiled.available():
        return _statistics_by_numpy(of, n)
    table = np.zeros((n, len(_Statistics._fields)))
    shares = (IRREGULAR_SHARE, EARLY_SHARE, ENTROPY_TOLERANCE)
    window, seconds = np.ascontiguousarray(of.window), np.ascontiguousarray(of.seconds)
    compiled.call("interval_statistics", window, seconds, len(window), *shares, table)
    return _Statistics(*table.T)


def _statistics_by_numpy(of: Intervals, n: int) -> _Statistics:
    def total(owner: NDArray[np.int64], values: NDArray[Any]) -> Float64:
        return np.bincount(owner, values, minlength=n).astype(np.float64, copy=False)

    window, seconds = of
    count = np.bincount(window, minlength=n)
    at_least_one = np.maximum(count, 1)
    mean_s, median_s = total(window, seconds) / at_least_one, _median(of, count)
    successive = window[1:] == window[:-1]
    owner, change_s = window[1:][successive], np.diff(seconds)[successive]
    return _Statistics(
        number=count.astype(np.float64),
        mean_s=mean_s,
        median_s=median_s,
        variance_s2=total(window, (seconds - mean_s[window]) ** 2) / at_least_one,
        changes=np.maximum(count - 1.0, 0),
        squared_change_s2=total(owner, change_s**2),
        irregular=total(owner, np.abs(change_s) > IRREGULAR_SHARE * median_s[owner]),
        early=total(window, seconds < EARLY_SHARE * median_s[window]),
        **_matches(of, ENTROPY_TOLERANCE * median_s, n),
    )


def _matches(rr: Intervals, tolerance_s: Float64, n: int) -> dict[str, Float64]:
    """Counts of sample entropy (template length 1): pairs of intervals, those alike, and those followed by alike ones.

    Richman and Moorman, Am. J. Physiol. 278:H2039 (2000). Where the entropy is made of them one is added to both
    counts, so that a window without any match has a value too, and a longer one a higher.
    """
    pairs, of_one, of_two = np.zeros((3, n))
    first = np.arange(len(rr.window) - 2)
    lag = 0
    while True:
        lag += 1
        # Both of a pair, and the interval after each, lie in one window: the last of the four decides.
        first = first[first + lag + 1 < len(rr.window)]
        first = first[rr.window[first] == rr.window[first + lag + 1]]
        if not len(first):
            break
        owner = rr.window[first]
        close = np.abs(rr.seconds[first] - rr.seconds[first + lag]) <= tolerance_s[owner]
        again = close & (np.abs(rr.seconds[first + 1] - rr.seconds[first + lag + 1]) <= tolerance_s[owner])
        pairs += np.bincount(owner, minlength=n)
        of_one += np.bincount(owner[close], minlength=n)
        of_two += np.bincount(owner[again], minlength=n)
    return {"pairs": pairs, "of_one": of_one, "of_two": of_two}


def _median(of: Intervals, count: NDArray[np.int64]) -> Float64:
    """Median of each window's intervals, 0 where it has none."""
    result = np.zeros(len(count))
    have = np.flatnonzero(count)
    ordered = of.seconds[np.lexsort((of.seconds, of.window))]
    start = (np.cumsum(count) - count)[have]
    result[have] = (ordered[start + (count[have] - 1) // 2] + ordered[start + count[have] // 2]) / 2
    return result
