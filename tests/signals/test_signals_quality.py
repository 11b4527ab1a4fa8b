"""What is rejected, what is not, and the vectorised helpers against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.signals.cuts import Cut
from ecgconsole.signals.quality import (
    QUALITY_COLUMNS,
    band_powers,
    clipped,
    constant,
    ecg_reasons,
    ecg_spectrum,
    marked,
    moments,
    ppg_reasons,
    ppg_spectrum,
    runs,
    share_of,
    window_reasons,
)
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.tracks import bridged, joined

from .records import ecg_and_ppg

pytestmark = pytest.mark.usefixtures("with_kernels_and_without")

masks = st.lists(st.booleans(), max_size=60).map(lambda x: np.array(x, bool))


@given(masks)
def test_runs_are_where_the_mask_is_true(mask: np.ndarray) -> None:
    start, stop = runs(mask)
    np.testing.assert_array_equal(marked(len(mask), start, stop), mask)
    assert all(a == 0 or not mask[a - 1] for a in start)
    assert all(b == len(mask) or not mask[b] for b in stop)


@given(masks.filter(len), st.data())
def test_shares_equal_the_mean_of_each_window(mask: np.ndarray, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(mask) - 1))
    stop = data.draw(st.integers(first + 1, len(mask)))
    assert share_of(mask, np.array([first]), np.array([stop]))[0] == pytest.approx(mask[first:stop].mean())


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(2, 9))
def test_constant_runs_equal_the_loop(values: list[int], minimum: int) -> None:
    slow = [False] * len(values)
    for a in range(len(values) - minimum + 1):
        if len(set(values[a : a + minimum])) == 1:
            slow[a : a + minimum] = [True] * minimum
    assert constant(np.array(values, np.float32), minimum).tolist() == slow


def test_missing_samples_are_never_constant() -> None:
    assert not constant(np.full(100, np.nan, np.float32), 10).any()


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40).map(lambda v: [x if x else np.nan for x in v]),
    st.integers(1, 5),
    st.data(),
)
def test_short_missing_runs_are_bridged_and_long_ones_cut(
    values: list[float], longest: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    recorded = joined([(0, cut), (cut + 1, len(values))])
    before = np.array(values, np.float32)
    after = before.copy()
    spans, filled = bridged(after, recorded, longest)
    allowed = set()
    for start, stop in recorded:
        at = start
        while at < stop:
            end = at
            while end < stop and np.isnan(before[end]):
                end += 1
            if end == at:
                allowed.add(at)
                at += 1
                continue
            if end - at <= longest and (at, end) != (start, stop):
                allowed.update(range(at, end))
            at = end
    assert {i for a, b in spans for i in range(a, b)} == allowed
    assert all(not np.isnan(after[a:b]).any() for a, b in spans)
    known = ~np.isnan(before)
    np.testing.assert_array_equal(after[known], before[known])
    if filled is not None:
        assert all(i in allowed and np.isnan(before[i]) for i in np.flatnonzero(filled))
    for a, b in spans:
        inside = before[a:b]
        assert np.nanmin(inside) <= after[a:b].min()
        assert after[a:b].max() <= np.nanmax(inside)


def test_a_bridge_is_a_straight_line_and_an_end_is_held() -> None:
    samples = np.array([np.nan, 1, np.nan, np.nan, 4, np.nan], np.float32)
    spans, filled = bridged(samples, [(0, 6)], 2)
    assert spans == [(0, 6)]
    assert filled is not None
    np.testing.assert_allclose(samples, [1, 1, 2, 3, 4, 4])


def test_a_plateau_at_the_limit_is_clipping_only_when_entered_and_left_steeply() -> None:
    wave = np.clip(np.rint(150 * np.sin(np.arange(2000) / 20)), -127, 127).astype(np.int16)
    mask = clipped(wave, -127, 127)
    assert 0.2 < mask.mean() < 0.5
    assert set(np.abs(wave[mask])) == {127}
    # P and T waves leave a coarse baseline by one step, however steep the R wave is.
    baseline = np.tile(np.array([0, 0, 0, 1, 1, 0, 0, 0, 9, 12, 3, 0, 0, 0, 1, 2, 2, 1], np.int16), 100)
    assert not clipped(baseline, 0, 12).any()


def ecg_columns(window: np.ndarray, **faults: float) -> dict[str, np.ndarray]:
    columns = {f"ecg_{n}": np.zeros(1, np.float32) for n in ("missing_share", "flat_share", "clipped_share")}
    columns |= {f"ecg_{n}": np.array([v], np.float32) for n, v in faults.items()}
    return columns | ecg_spectrum(Cut.whole(window.astype(np.float32)[None]), 125.0)


def ppg_columns(window: np.ndarray, **faults: float) -> dict[str, np.ndarray]:
    columns = {f"ppg_{n}": np.zeros(1, np.float32) for n in ("missing_share", "flat_share", "clipped_share")}
    columns |= {f"ppg_{n}": np.array([v], np.float32) for n, v in faults.items()}
    return columns | ppg_spectrum(Cut.whole(window.astype(np.float32)[None]), 125.0)


def test_only_gross_faults_reject_an_ecg() -> None:
    ecg, _ = ecg_and_ppg(10)
    t = np.arange(1250) / 125
    rng = np.random.default_rng(1)
    kept = {
        "clean": ecg,
        "wander": ecg + 3 * np.sin(2 * np.pi * 0.2 * t),
        "mains": ecg + 2 * np.sin(2 * np.pi * 60 * t),
        "noise as strong as the ECG": ecg + rng.normal(0, ecg.std(), 1250),
        "fibrillation": 0.3 * np.sin(2 * np.pi * 5 * t + np.sin(t)) + rng.normal(0, 0.02, 1250),
        "a noise floor under slow drift": 0.02 * np.sin(t)
        + np.convolve(rng.normal(0, 0.003, 1250), np.ones(5), "same"),
    }
    for name, window in kept.items():
        assert ecg_reasons(ecg_columns(window))[0] == Reason.KEPT, name
    assert ecg_reasons(ecg_columns(rng.normal(0, 1, 1250)))[0] == Reason.NOISE
    assert ecg_reasons(ecg_columns(ecg, missing_share=0.051))[0] == Reason.MISSING_SAMPLES
    assert ecg_reasons(ecg_columns(ecg, missing_share=0.05))[0] == Reason.KEPT
    assert ecg_reasons(ecg_columns(ecg, flat_share=0.5))[0] == Reason.DISCONNECTED
    assert ecg_reasons(ecg_columns(ecg, clipped_share=0.1))[0] == Reason.CLIPPING


def test_a_ppg_without_a_pulse_is_not_present() -> None:
    _, ppg = ecg_and_ppg(10)
    rng = np.random.default_rng(1)
    assert ppg_reasons(ppg_columns(ppg))[0] == Reason.KEPT
    assert ppg_reasons(ppg_columns(rng.normal(0, 1, 1250)))[0] == Reason.NO_PULSE
    assert ppg_reasons(ppg_columns(np.zeros(1250)))[0] == Reason.NO_PULSE


K, G, N, D, P = Reason.KEPT, Reason.GAP, Reason.NOISE, Reason.DISCONNECTED, Reason.NO_PULSE


@pytest.mark.parametrize(
    ("require", "ecg", "ppg", "expected"),
    [
        ("both", K, K, K),
        ("both", K, P, K),
        ("both", K, D, K),
        ("both", K, G, G),
        ("both", N, K, N),
        ("both", N, P, N),
        ("ecg", K, G, K),
        ("ecg", D, K, D),
        ("ppg", N, K, K),
        ("ppg", K, P, P),
        ("either", N, K, K),
        ("either", K, P, K),
        ("either", N, P, N),
        ("either", Reason.NO_CHANNEL, P, P),
    ],
)
def test_a_window_needs_what_is_required(require: str, ecg: Reason, ppg: Reason, expected: Reason) -> None:
    assert window_reasons(require, np.array([ecg], np.uint8), np.array([ppg], np.uint8))[0] == expected


def test_band_powers_find_a_tone_in_its_band() -> None:
    t = np.arange(1250) / 125
    for tone_hz, band in ((3.0, 1), (10.0, 2), (20.0, 3), (30.0, 4), (45.0, 5), (60.0, 6)):
        tone = Cut.whole(np.sin(2 * np.pi * tone_hz * t).astype(np.float32)[None])
        powers = band_powers(tone, 125.0, (0, 1, 5, 15, 25, 40, 55))
        assert powers[0].argmax() == band
        assert powers[0, band] > 0.999 * powers.sum()


def test_moments_equal_scipys() -> None:
    from scipy import stats

    windows = np.random.default_rng(0).gamma(2, size=(5, 1250)).astype(np.float32)
    found = moments(windows)
    columns = found.columns("x")
    np.testing.assert_allclose(columns["x_skewness"], stats.skew(windows, axis=1), rtol=1e-3)
    np.testing.assert_allclose(columns["x_kurtosis"], stats.kurtosis(windows, axis=1, fisher=False), rtol=1e-3)
    np.testing.assert_allclose(found.sd, windows.std(axis=1), rtol=1e-4)
    np.testing.assert_array_equal(found.lowest, windows.min(axis=1))
    np.testing.assert_array_equal(found.highest, windows.max(axis=1))


def test_every_column_has_a_unit_and_a_description() -> None:
    names = [c.name for c in QUALITY_COLUMNS]
    assert len(set(names)) == len(names)
    assert all(c.unit and c.description and c.source for c in QUALITY_COLUMNS)
