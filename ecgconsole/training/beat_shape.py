"""The mean beat of a window and how its beats spread about it: a target that holds morphology and needs no label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgconsole.dataset import Dataset
from ecgconsole.signals.beats import r_peaks
from ecgconsole.signals.filtering import spectrum
from ecgconsole.signals.rhythm import MINIMUM_BEATS

Float32 = NDArray[np.float32]

# From before the P wave to after the T wave, about the R peak.
SPAN_S = (-0.32, 0.52)
POINT_HZ = 62.5
N_POINTS = round((SPAN_S[1] - SPAN_S[0]) * POINT_HZ)
# The spread at every other point.
N_SPREAD = (N_POINTS + 1) // 2
N_BEAT = N_POINTS + N_SPREAD
_POINTS_S = SPAN_S[0] + np.arange(N_POINTS) / POINT_HZ
_QRS = np.abs(_POINTS_S) <= 0.06
# In standard deviations of the window.
_SPREAD_FLOOR = 0.05
_HIGHEST = 8.0
_SD_FLOOR_MV = 1e-3
_BLOCK = 4096


def beat_shapes(dataset: Dataset, rows: NDArray[np.int64]) -> Float32:
    """``beat_shape`` of the ECG of ``rows`` of a dataset, (n, N_BEAT)."""
    shapes = np.empty((len(rows), N_BEAT), np.float32)
    for low in range(0, len(rows), _BLOCK):
        ecg = dataset.physical(rows[low : low + _BLOCK])[:, 0]
        shapes[low : low + _BLOCK] = beat_shape(ecg, dataset.sampling_rate_hz)
    return shapes


def beat_shape(windows: Float32, sampling_rate_hz: float) -> Float32:
    """(n, T) ECG to (n, N_BEAT), in standard deviations of the window; not a number below three whole beats.

    The first ``N_POINTS`` are the mean beat from ``SPAN_S[0]`` to ``SPAN_S[1]`` about the R peak, turned so that its
    QRS complex points up, since leads are found either way round; then come ``N_SPREAD`` logarithms of the standard
    deviation of the beats about it.
    """
    n, length = windows.shape
    shapes = np.full((n, N_BEAT), np.nan, np.float32)
    if not n:
        return shapes
    found = r_peaks(spectrum(windows.copy()), length, sampling_rate_hz)
    offset = np.rint(_POINTS_S * sampling_rate_hz).astype(np.int64)
    centre = np.rint(found.time_s * sampling_rate_hz).astype(np.int64)
    whole = (centre + offset[0] >= 0) & (centre + offset[-1] < length)
    owner, centre = found.row[whole], centre[whole]
    enough = np.bincount(owner, minlength=n) >= MINIMUM_BEATS
    owner, centre = owner[enough[owner]], centre[enough[owner]]
    if not len(owner):
        return shapes

    rows, starts, counts = np.unique(owner, return_index=True, return_counts=True)
    sd = np.maximum(windows.std(axis=1, dtype=np.float64), _SD_FLOOR_MV)
    beats = windows[owner[:, None], centre[:, None] + offset] / sd[owner, None]
    mean = np.add.reduceat(beats, starts, axis=0) / counts[:, None]
    power = np.add.reduceat(beats**2, starts, axis=0) / counts[:, None]
    spread = np.sqrt(np.maximum(power - mean**2, 0))[:, ::2]
    qrs = mean[:, _QRS]
    up = np.sign(np.take_along_axis(qrs, np.abs(qrs).argmax(axis=1)[:, None], axis=1))
    shapes[rows, :N_POINTS] = np.clip(mean * up, -_HIGHEST, _HIGHEST)
    shapes[rows, N_POINTS:] = np.log(np.maximum(spread, _SPREAD_FLOOR))
    return shapes
