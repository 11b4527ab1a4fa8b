"""Rhythm columns against loops that anybody can read."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.signals.rhythm import RHYTHM_COLUMNS, intervals, rhythm
from ecgconsole.signals.templates import ECG_SPAN_S, template_correlation

from .records import ecg_and_ppg

pytestmark = pytest.mark.usefixtures("with_kernels_and_without")

beat_times = st.lists(st.floats(0, 10, width=32), max_size=20, unique=True).map(sorted)


def slow_rhythm(beats: list[float], pulses: list[float]) -> dict[str, float]:
    nan = math.nan
    row = dict.fromkeys((c.name for c in RHYTHM_COLUMNS), nan)
    rr = [b - a for a, b in pairwise(beats)]
    pp = [b - a for a, b in pairwise(pulses)]
    if len(rr) >= 2:
        mean = sum(rr) / len(rr)
        changes = [b - a for a, b in pairwise(rr)]
        rms = math.sqrt(sum(c * c for c in changes) / len(changes))
        median = float(np.median(rr))
        row["heart_rate_bpm"] = 60 / mean
        row["rr_cv"] = float(np.std(rr)) / mean
        row["rmssd_ms"] = 1000 * rms
        row["rmssd_normalised"] = rms / mean
        row["median_rr_s"] = median
        row["rr_irregular_share"] = sum(abs(c) > 0.1 * median for c in changes) / len(changes)
        row["early_beats"] = sum(r < 0.8 * median for r in rr)
        if len(rr) >= 3:
            pairs = [(i, j) for j in range(len(rr) - 1) for i in range(j)]
            one = [(i, j) for i, j in pairs if abs(rr[i] - rr[j]) <= 0.1 * median]
            two = [(i, j) for i, j in one if abs(rr[i + 1] - rr[j + 1]) <= 0.1 * median]
            row["rr_entropy"] = math.log((len(one) + 1) / (len(two) + 1)) - math.log(median)
    if len(pp) >= 2:
        row["pulse_rate_bpm"] = 60 / float(np.median(pp))
    if len(rr) >= 2 and len(pp) >= 2:
        a, b = float(np.median(rr)), float(np.median(pp))
        row["ecg_ppg_agreement"] = min(a, b) / max(a, b)
    return row


@given(st.lists(st.tuples(beat_times, beat_times), min_size=1, max_size=6))
def test_columns_equal_the_loop_over_windows(windows: list[tuple[list[float], list[float]]]) -> None:
    def flat(which: int) -> tuple[np.ndarray, np.ndarray]:
        owner = np.array([i for i, w in enumerate(windows) for _ in w[which]], np.int64)
        return owner, np.array([t for w in windows for t in w[which]], np.float64)

    fast = rhythm(intervals(*flat(0)), intervals(*flat(1)), len(windows))
    assert list(fast) == [c.name for c in RHYTHM_COLUMNS]
    for i, (beats, pulses) in enumerate(windows):
        slow = slow_rhythm(beats, pulses)
        for name, values in fast.items():
            np.testing.assert_allclose(values[i], slow[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_below_three_beats_nothing_is_known() -> None:
    columns = rhythm(intervals(np.array([0, 0]), np.array([1.0, 2.0])), intervals(np.zeros(0, int), np.zeros(0)), 2)
    assert all(np.isnan(values).all() for values in columns.values())


def test_template_correlation_equals_the_loop_and_falls_with_a_foreign_beat() -> None:
    ecg, _ = ecg_and_ppg(10, bpm=60)
    window = np.stack([ecg, ecg]).astype(np.float32)
    window[1, 600:700] *= -1
    beats = np.arange(0.3, 10, 1.0)
    owner = np.repeat(np.arange(2), len(beats))
    fast = template_correlation(window, owner, np.tile(beats, 2), 125.0, ECG_SPAN_S)
    for i in range(2):
        centres = [int(np.rint(b * 125)) for b in beats]
        strips = [window[i, c - 25 : c + 50] for c in centres if c >= 25 and c + 50 <= 1250]
        template = np.mean([s - s.mean() for s in strips], axis=0)
        slow = np.mean([np.corrcoef(strip, template)[0, 1] for strip in strips])
        np.testing.assert_allclose(fast[i], slow, rtol=1e-3)
    assert fast[1] < fast[0] - 0.1
    alone = template_correlation(window, np.array([0]), np.array([5.0]), 125.0, ECG_SPAN_S)
    assert np.isnan(alone).all()
