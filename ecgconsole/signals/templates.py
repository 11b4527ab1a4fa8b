"""How much the beats of a window look alike. A column, never a ground for rejection: ectopy lowers it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgconsole.signals import compiled

Float32 = NDArray[np.float32]

ECG_SPAN_S = (-0.2, 0.4)
PPG_SPAN_S = (-0.2, 0.5)


def template_correlation(
    windows: Float32,
    window: NDArray[np.int64],
    time_s: NDArray[np.float64],
    sampling_rate_hz: float,
    span_s: tuple[float, float],
) -> Float32:
    """Mean correlation (w,) of each beat with the mean beat of its window, NaN below two whole beats.

    ``windows`` (w, t) filtered; beats sorted by ``window`` (b,), at ``time_s`` (b,) from the window's start.
    """
    n, length = windows.shape
    before, after = (round(s * sampling_rate_hz) for s in span_s)
    centre = np.rint(time_s * sampling_rate_hz).astype(np.int64)
    whole = (centre + before >= 0) & (centre + after <= length)
    owner, centre = window[whole], centre[whole]
    result = np.full(n, np.nan, np.float32)
    begin, span = centre + before, after - before
    if compiled.available():
        windows, owner, begin = (np.ascontiguousarray(a) for a in (windows, owner, begin))
        compiled.call("template_correlation", windows, length, owner, begin, len(owner), span, result)
        return result
    count = np.bincount(owner, minlength=n)
    have = np.flatnonzero(count)
    if not len(have):
        return result
    beats = np.lib.stride_tricks.sliding_window_view(windows, span, axis=1)[owner, begin]
    beats = beats - beats.mean(axis=1, keepdims=True)
    of_window = np.cumsum(count > 0)[owner] - 1
    first = np.cumsum(count) - count
    templates = beats[first[have]]
    for rank in range(1, count.max()):
        longer = count[have] > rank
        templates[longer] += beats[first[have][longer] + rank]
    product = (beats * templates[of_window]).sum(axis=1)
    power = (beats * beats).sum(axis=1) * (templates * templates).sum(axis=1)[of_window]
    correlation = np.divide(product, np.sqrt(power), out=np.zeros_like(product), where=power > 0)
    mean = np.bincount(owner, correlation, minlength=n)[have] / count[have]
    result[have] = np.where(count[have] > 1, mean, np.nan)
    return result
