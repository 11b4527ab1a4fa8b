"""Filters against scipy's, which are slower and filter whole spans at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from ecgconsole.signals.filtering import (
    BUTTERWORTH_ORDER,
    apply_response,
    band_pass_response,
    mirrored,
    rate_ratio,
    resample,
    spectrum,
)
from ecgconsole.signals.rows import geometry_of

from .records import ecg_and_ppg

BANDS = [(0.5, 40.0), (0.5, 8.0)]


def in_blocks(span: np.ndarray, band_hz: tuple[float, float]) -> np.ndarray:
    """A span filtered row by row, as the dataset does it."""
    geometry = geometry_of(125.0, 10.0, *BANDS)
    size = geometry.windows * geometry.samples
    starts = range(0, len(span), size)
    rows = np.stack([mirrored(span, a - geometry.context, a - geometry.context + geometry.n) for a in starts])
    filtered = apply_response(spectrum(rows), band_pass_response(geometry.n, 125.0, band_hz), geometry.n)
    return filtered[:, geometry.context : geometry.context + size].reshape(-1)[: len(span)]


@pytest.mark.parametrize("band_hz", BANDS)
@pytest.mark.parametrize("seconds", [10, 47, 500])
def test_blocks_equal_sosfiltfilt_over_the_whole_span(band_hz: tuple[float, float], seconds: int) -> None:
    ecg, _ = ecg_and_ppg(seconds)
    t = np.arange(len(ecg)) / 125
    span = ecg + 2 * np.sin(2 * np.pi * 0.15 * t) + 5 + 0.3 * np.sin(2 * np.pi * 60 * t)
    sections = signal.butter(BUTTERWORTH_ORDER, band_hz, "bandpass", fs=125, output="sos")
    # Mirrored until nothing rings any more.
    padded = np.pad(span, 3000, mode="reflect")
    slow = signal.sosfiltfilt(sections, padded, padtype="even", padlen=100)[3000:-3000]
    fast = in_blocks(span.astype(np.float32), band_hz)
    assert np.abs(fast - slow).max() < 2e-4 * np.ptp(slow)


@given(n=st.integers(1, 30), start=st.integers(-100, 40), length=st.integers(1, 120))
def test_mirroring_is_numpys_reflection_however_far(n: int, start: int, length: int) -> None:
    samples = np.arange(n, dtype=np.float32) ** 2
    padded = np.pad(samples, 200, mode="reflect")
    np.testing.assert_array_equal(mirrored(samples, start, start + length), padded[start + 200 : start + 200 + length])


@pytest.mark.parametrize("rate_hz", [360.0, 250.0, 300.0, 200.0, 500.0, 128.0, 62.5, 257.0, 62.4725])
def test_resampling_equals_resample_poly_and_keeps_the_clock(rate_hz: float) -> None:
    ratio = rate_ratio(rate_hz, 125.0)
    assert float(ratio) == pytest.approx(125 / rate_hz, rel=1e-12)
    span, _ = ecg_and_ppg(40, rate_hz=rate_hz)
    span = span.astype(np.float32)
    fast, first = resample(span, 0, ratio)
    slow = signal.resample_poly(span.astype(np.float64), ratio.numerator, ratio.denominator)
    assert first == 0
    assert len(fast) == len(slow)
    inner = slice(100, -100)
    assert np.abs(fast - slow)[inner].max() < 1e-4 * np.ptp(slow)
    # A span that begins anywhere lies on the same output samples.
    part, origin = resample(span[777:], 777, ratio)
    assert origin == int(np.ceil(777 * ratio))
    np.testing.assert_allclose(part[100:-100], fast[origin + 100 : -100], atol=1e-4 * np.ptp(slow))


def test_resampling_keeps_a_slow_wave_to_the_ends_of_the_span() -> None:
    t = np.arange(3600) / 360
    wave = (5 + np.cos(2 * np.pi * 1.0 * t)).astype(np.float32)
    resampled, _ = resample(wave, 0, rate_ratio(360, 125))
    expected = 5 + np.cos(2 * np.pi * np.arange(1250) / 125)
    assert np.abs(resampled - expected).max() < 0.02


def test_an_equal_rate_changes_nothing() -> None:
    span = np.arange(10, dtype=np.float32)
    same, first = resample(span, 7, rate_ratio(125, 125.0))
    assert same is span
    assert first == 7


@pytest.mark.parametrize("band_hz", [(0.5, 40.0), (0.5, 8.0), (0.05, 62.0)])
@pytest.mark.parametrize("n", [1250, 18001])
def test_the_response_is_that_of_scipys_sections(band_hz: tuple[float, float], n: int) -> None:
    sections = signal.butter(3, band_hz, "bandpass", fs=125, output="sos")
    _, response = signal.sosfreqz(sections, np.fft.rfftfreq(n, 1 / 125), fs=125)
    np.testing.assert_allclose(band_pass_response(n, 125.0, band_hz), np.abs(response) ** 2, atol=1e-6)
