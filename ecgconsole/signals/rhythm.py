"""Rhythm of windows from their beats, vectorised over windows. Nothing here decides what is kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

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


def rhythm(rr: Intervals, pulse: Intervals, n: int) -> dict[str, Float32]:
    """The columns of ``RHYTHM_COLUMNS`` for ``n`` windows, NaN where a window has fewer than three beats."""
    count = np.bincount(rr.window, minlength=n)
    known = count >= MINIMUM_BEATS - 1
    mean_s = _mean(rr.window, rr.seconds, n)
    median_s = _median(rr, n)
    variance = _mean(rr.window, (rr.seconds - mean_s[rr.window]) ** 2, n)
    successive = rr.window[1:] == rr.window[:-1]
    owner = rr.window[1:][successive]
    change_s = np.diff(rr.seconds)[successive]
    rms_s = np.sqrt(_mean(owner, change_s**2, n))
    irregular = np.abs(change_s) > IRREGULAR_SHARE * median_s[owner]
    early = np.bincount(rr.window[rr.seconds < EARLY_SHARE * median_s[rr.window]], minlength=n)

    pulse_known = np.bincount(pulse.window, minlength=n) >= MINIMUM_BEATS - 1
    pulse_median_s = _median(pulse, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "heart_rate_bpm": 60 / mean_s,
            "rr_cv": np.sqrt(variance) / mean_s,
            "rmssd_ms": 1000 * rms_s,
            "rmssd_normalised": rms_s / mean_s,
            "median_rr_s": median_s,
            "rr_irregular_share": _mean(owner, irregular.astype(np.float64), n),
            "rr_entropy": _entropy(rr, ENTROPY_TOLERANCE * median_s, n) - np.log(median_s),
            "early_beats": early.astype(np.float64),
        }
        pulse_rate_bpm = 60 / pulse_median_s
        agreement = np.minimum(median_s, pulse_median_s) / np.maximum(median_s, pulse_median_s)
    columns = {name: np.where(known, values, np.nan) for name, values in columns.items()}
    columns["pulse_rate_bpm"] = np.where(pulse_known, pulse_rate_bpm, np.nan)
    columns["ecg_ppg_agreement"] = np.where(known & pulse_known, agreement, np.nan)
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _entropy(rr: Intervals, tolerance_s: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Sample entropy of each window's intervals (template length 1), NaN where it has fewer than three.

    Richman and Moorman, Am. J. Physiol. 278:H2039 (2000). One is added to both counts, so that a window
    without any match has a value too, and a longer one a higher.
    """
    of_one, of_two, pairs = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
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
    return np.where(pairs > 0, np.log((of_one + 1) / (of_two + 1)), np.nan)


def _mean(window: NDArray[np.int64], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Mean of each window's values, NaN where it has none."""
    count = np.bincount(window, minlength=n)
    total = np.bincount(window, values, minlength=n)
    return np.divide(total, count, out=np.full(n, np.nan), where=count > 0)


def _median(of: Intervals, n: int) -> NDArray[np.float64]:
    """Median of each window's intervals, NaN where it has none."""
    result = np.full(n, np.nan)
    count = np.bincount(of.window, minlength=n)
    have = np.flatnonzero(count)
    if len(have):
        # One sort by window and length: no interval is as long as the record.
        longest = of.seconds.max() + 1
        ordered = np.sort(of.window * longest + of.seconds) - np.sort(of.window) * longest
        start = (np.cumsum(count) - count)[have]
        result[have] = (ordered[start + (count[have] - 1) // 2] + ordered[start + count[have] // 2]) / 2
    return result
