"""Linear filters of contiguous spans: polyphase resampling, and zero-phase band-pass by FFT.

Spans are filtered, not windows: a window cut first would ring at both of its ends. A span is cut into
rows of fixed length with context on both sides, longer than the filters ring, so that memory is
bounded and a row's result does not depend on what else is computed.

SciPy is imported where it is used, here and beside: whoever only asks which windows there are starts sooner.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BUTTERWORTH_ORDER = 3
# Half-length of the anti-alias filter in periods of the lower rate, and its Kaiser window: as scipy's resample_poly.
_RESAMPLING_HALF_PERIODS = 10
_KAISER_BETA = 5.0

Float32 = NDArray[np.float32]


@lru_cache(maxsize=16)
def band_pass_response(n: int, sampling_rate_hz: float, band_hz: tuple[float, float]) -> Float32:
    """Magnitude (n // 2 + 1,) at the bins of ``rfft(n)``: a Butterworth run forwards and backwards.

    The response of ``scipy.signal.sosfiltfilt`` with the sections of ``butter``: a Butterworth's squared
    magnitude 1 / (1 + x^2N), where x takes the band to that of a low-pass and frequencies are warped by the
    bilinear transform (Oppenheim and Schafer, Discrete-Time Signal Processing, chapter 7).
    """

    def warped(hz: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.tan(np.pi * hz / sampling_rate_hz)

    low, high = warped(np.array(band_hz))
    frequency = warped(np.fft.rfftfreq(n, 1 / sampling_rate_hz))
    with np.errstate(divide="ignore", over="ignore"):
        x = (frequency**2 - low * high) / ((high - low) * frequency)
        magnitude = (1 / (1 + x ** (2 * BUTTERWORTH_ORDER))).astype(np.float32)
    magnitude.flags.writeable = False
    return magnitude


def context_seconds(band_hz: tuple[float, float]) -> float:
    """How long the band-pass rings after a step, to below 1e-5 of it.

    The slowest pole of a third-order Butterworth decays by exp(-pi f t) at its lower edge f.
    """
    return -np.log(1e-5) / (np.pi * min(band_hz))


def spectrum(rows: Float32) -> NDArray[np.complex64]:
    """``rfft`` (r, n // 2 + 1) of rows (r, n), whose means are removed first: float32 has 24 bits."""
    from scipy import fft

    centred = rows - rows.mean(axis=1, keepdims=True)
    return fft.rfft(centred, axis=1, overwrite_x=True)


def apply_response(rows_spectrum: NDArray[np.complex64], response: NDArray[np.floating], n: int) -> Float32:
    """Rows (r, n) of a spectrum (r, n // 2 + 1) under a real response. The spectrum is overwritten."""
    from scipy import fft

    scale(rows_spectrum, response, rows_spectrum)
    return fft.irfft(rows_spectrum, n, axis=1, overwrite_x=True)


def scale(bins: NDArray[np.complex64], response: NDArray[np.floating], out: NDArray[np.complex64]) -> None:
    """Bins (r, k) times a real response (k,), which NumPy would first make complex."""
    np.multiply(bins.view(np.float32), np.repeat(response, 2), out=out.view(np.float32), casting="same_kind")


def mirrored(samples: Float32, start: int, stop: int) -> Float32:
    """``samples[start:stop]`` where both may lie outside: reflected about the first and last sample.

    As ``scipy.signal.sosfiltfilt(padtype="even")`` pads, continued as often as needed.
    """
    n = len(samples)
    if start >= 0 and stop <= n:
        return samples[start:stop]
    if n == 1:
        return np.repeat(samples, stop - start)
    inside = slice(min(max(start, 0), n), max(min(stop, n), 0))
    before, after = np.arange(start, min(stop, 0)), np.arange(max(start, n), stop)
    index = np.concatenate([before, after]) % (2 * n - 2)
    beyond = samples[np.minimum(index, 2 * n - 2 - index)]
    return np.concatenate([beyond[: len(before)], samples[inside], beyond[len(before) :]])


@lru_cache(maxsize=16)
def rate_ratio(rate_in_hz: float, rate_out_hz: float) -> Fraction:
    """``rate_out / rate_in`` as the shortest fraction that decimals of both allow."""
    ratio = Fraction(str(rate_out_hz)) / Fraction(str(rate_in_hz))
    return ratio if ratio.denominator <= 10**6 else ratio.limit_denominator(10**6)


def resample(samples: Float32, start: int, ratio: Fraction) -> tuple[Float32, int]:
    """A span on the output clock: ``(resampled, index of its first sample)``.

    Input sample i lies at time i, output sample j at time j / ``ratio``, both counted from the
    record's first sample; ``start`` is the index of ``samples[0]``. Outputs cover the times
    ``start <= t < start + n``. Polyphase filter as ``scipy.signal.resample_poly``, ends mirrored.
    """
    if ratio == 1:
        return samples, start
    # Costs half a second to import, and most recordings have the dataset's rate.
    from scipy.signal import upfirdn

    up, down = ratio.numerator, ratio.denominator
    first = -(-start * up // down)
    stop = -(-(start + len(samples)) * up // down)
    taps = _anti_alias(up, down)
    reach = len(taps) // 2 // up + 1
    # Begin at a multiple of `down`, where input and output clocks coincide.
    begin = (start - reach) // down * down
    padded = mirrored(samples, begin - start, len(samples) + reach)
    offset = len(taps) // 2
    # upfirdn's output m is centred on begin * up / down + (m * down - offset) / down.
    lead = -offset % down
    filtered = upfirdn(np.concatenate([np.zeros(lead, np.float32), taps]), padded, up, down)
    shift = (offset + lead) // down
    from_first = first - begin * up // down + shift
    return filtered[from_first : from_first + stop - first].astype(np.float32, copy=False), first


@lru_cache(maxsize=16)
def _anti_alias(up: int, down: int) -> Float32:
    from scipy.signal import firwin

    half = _RESAMPLING_HALF_PERIODS * max(up, down)
    taps = up * firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", _KAISER_BETA))
    return taps.astype(np.float32)
