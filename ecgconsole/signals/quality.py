"""Quality of windows, vectorised over windows: the columns, and what is rejected.

Nothing here looks at beats: an index of rhythm would reject the arrhythmias that the dataset is for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgconsole.signals import compiled
from ecgconsole.signals.cuts import Cut
from ecgconsole.signals.reasons import Reason
from ecgconsole.signals.rhythm import Column

Float32 = NDArray[np.float32]

MAXIMUM_MISSING_RUN_S = 0.2
MAXIMUM_MISSING_SHARE = 0.05
# Between slow beats, coarse ADC steps hide the noise floor: shorter constant runs may be rhythm.
FLAT_RUN_S = 4.0
MAXIMUM_FLAT_SHARE = 0.5
CLIPPED_RUN_SAMPLES = 3
# ADC steps: a plateau that is entered or left more gently is a quiet baseline, not a limit.
CLIPPED_JUMP_STEPS = 2
MAXIMUM_CLIPPED_SHARE = 0.1
MAXIMUM_ECG_NOISE_SHARE = 0.4
MINIMUM_PULSE_SHARE = 0.3
SILENT_RANGE_MV = 0.15

# Hz. ECG: below the QRS, the QRS, its edges, above. PPG: wander, pulse, harmonics, above.
_ECG_EDGES_HZ = (0.0, 1.0, 5.0, 15.0, 25.0, 40.0, 55.0)
_PPG_EDGES_HZ = (0.0, 0.6, 4.0, 8.0)

_LI = "Li, Mark and Clifford, Physiol. Meas. 29:15 (2008)"
_ELGENDI = "Elgendi, Bioengineering 3:21 (2016)"

_SHARED = (
    ("missing_share", "share of the samples that were missing and interpolated", "-"),
    ("flat_share", "share of the samples in constant runs of 4 s or longer", "-"),
    ("clipped_share", "share of the samples in plateaus at the recording's lowest or highest value", "-"),
    ("baseline_share", "share of the power below 1 Hz (ECG), 0.6 Hz (PPG), before filtering", _LI),
    ("noise_share", "power from 25 to 55 Hz / from 1 to 55 Hz (ECG), above 8 Hz / above 0.6 Hz (PPG)", _LI),
)
_LATER = (
    ("skewness", "third standardised moment after filtering", _ELGENDI),
    ("kurtosis", "fourth standardised moment after filtering (3 for a Gaussian)", _LI),
    (
        "template_correlation",
        "mean correlation of the beats with their mean beat",
        "Orphanidou, JBHI 19:832 (2015)",
    ),
)
QUALITY_COLUMNS = (
    *(Column(f"ecg_{name}", "1", text, source) for name, text, source in (*_SHARED, *_LATER)),
    Column("ecg_qrs_share", "1", "power from 5 to 15 Hz / power from 1 to 40 Hz", _LI),
    Column("ecg_silent", "1", "1: range below 0.15 mV, a noise floor (asystole, poor contact): no beats", "-"),
    Column("ecg_uncalibrated", "1", "1: the header has no gain, millivolts are a guess", "-"),
    *(Column(f"ppg_{name}", "1", text, source) for name, text, source in (*_SHARED, *_LATER)),
    Column("ppg_pulse_share", "1", "power from 0.6 to 4 Hz / power above 0.6 Hz", _ELGENDI),
    Column("ppg_uncalibrated", "1", "1: the header has no gain", "-"),
)


def clipped(codes: NDArray[np.signedinteger], lowest: int, highest: int) -> NDArray[np.bool_]:
    """Which ADC codes lie in a plateau at the recording's lowest or highest code, entered and left steeply."""
    if highest - lowest < CLIPPED_JUMP_STEPS:
        return np.zeros(len(codes), bool)
    if compiled.takes(codes):
        mask = np.zeros(len(codes), bool)
        limits = (lowest, highest, CLIPPED_RUN_SAMPLES, CLIPPED_JUMP_STEPS)
        compiled.call("clipped", codes, len(codes), *limits, mask)
        return mask
    start, stop = runs((codes >= highest) | (codes <= lowest))
    long = stop - start >= CLIPPED_RUN_SAMPLES
    start, stop = start[long], stop[long]
    value = codes[start].astype(np.int64)
    before = np.abs(codes[np.maximum(start - 1, 0)] - value)
    after = np.abs(codes[np.minimum(stop, len(codes) - 1)] - value)
    steep = np.minimum(before, after) >= CLIPPED_JUMP_STEPS
    return marked(len(codes), start[steep], stop[steep])


def runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and stop of the runs of true values."""
    index = np.flatnonzero(mask)
    if not len(index):
        return index, index
    breaks = np.flatnonzero(np.diff(index) > 1)
    return index[np.concatenate([[0], breaks + 1])], index[np.append(breaks, len(index) - 1)] + 1


def marked(n: int, start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A mask (n,), true in the given runs, which do not overlap."""
    mask = np.zeros(n, bool)
    mask[members(start, stop)] = True
    return mask


def members(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """All indices in the given runs, run after run."""
    length = stop - start
    return np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())


def share_of(mask: NDArray[np.bool_], first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of true values in each window ``first:stop``."""
    index = np.flatnonzero(mask)
    return (np.searchsorted(index, stop) - np.searchsorted(index, first)) / np.maximum(stop - first, 1)


def constant(samples: Float32, minimum: int) -> NDArray[np.bool_]:
    """Which samples lie in runs of at least ``minimum`` equal values. NaN equals nothing."""
    # Such a run holds a whole block of half its length, and so that block's first, middle and last sample.
    size = max(1, minimum // 2)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    if minimum > 1:
        first, stop = runs((blocks[:, 0] == blocks[:, -1]) & (blocks[:, 0] == blocks[:, size // 2]))
    else:
        first, stop = np.array([0]), np.array([len(blocks)])
    mask = np.zeros(len(samples), bool)
    for a, b in zip((size * (first - 1)).tolist(), (size * (stop + 1)).tolist(), strict=True):
        # It begins and ends within the blocks beside those.
        part = slice(max(a, 0), b)
        same, stop_of = runs(np.append(samples[part][1:] == samples[part][:-1], False))
        long = stop_of - same + 1 >= minimum
        mask[part] |= marked(len(samples[part]), same[long], stop_of[long] + 1)
    return mask


def ecg_spectrum(windows: Cut, sampling_rate_hz: float) -> dict[str, Float32]:
    """Shares of power of unfiltered windows."""
    # Mains (60 Hz) is in the last band, which counts nowhere: the band-pass removes it.
    below, low, qrs, edge, high, above, _ = band_powers(windows, sampling_rate_hz, _ECG_EDGES_HZ).T
    wanted = low + qrs + edge + high
    return {
        "ecg_baseline_share": _ratio(below, below + wanted + above),
        "ecg_noise_share": _ratio(high + above, wanted + above),
        "ecg_qrs_share": _ratio(qrs, wanted),
    }


def ppg_spectrum(windows: Cut, sampling_rate_hz: float) -> dict[str, Float32]:
    """Shares of power of unfiltered windows."""
    below, pulse, harmonics, above = band_powers(windows, sampling_rate_hz, _PPG_EDGES_HZ).T
    return {
        "ppg_baseline_share": _ratio(below, below + pulse + harmonics + above),
        "ppg_noise_share": _ratio(above, pulse + harmonics + above),
        "ppg_pulse_share": _ratio(pulse, pulse + harmonics + above),
    }


def band_powers(windows: Cut, sampling_rate_hz: float, edges_hz: tuple[float, ...]) -> NDArray[np.float64]:
    """Power (w, bands) of Hann-tapered windows; the last band ends at half of the sampling rate."""
    from scipy import fft

    n = windows.length
    bins = fft.rfft(windows.tapered(np.hanning(n).astype(np.float32)), axis=1, overwrite_x=True)
    bins[:, 0] = 0
    # Real and imaginary parts side by side: their squares add up in the band's sum.
    parts = bins.view(np.float32)
    edges = 2 * np.minimum(np.ceil(np.array(edges_hz) * n / sampling_rate_hz).astype(np.int64), bins.shape[1] - 1)
    if compiled.available():
        powers = np.empty((len(parts), len(edges)))
        compiled.call("band_powers", parts, len(parts), parts.shape[1], edges, len(edges), powers)
        return powers
    np.square(parts, out=parts)
    return np.add.reduceat(parts, edges, axis=1).astype(np.float64)


class Moments(NamedTuple):
    """Of windows, float32 (w,) each; ``third`` and ``fourth`` are not standardised."""

    lowest: Float32
    highest: Float32
    sd: Float32
    third: Float32
    fourth: Float32

    def columns(self, prefix: str) -> dict[str, Float32]:
        """Skewness and kurtosis."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {f"{prefix}_skewness": self.third / self.sd**3, f"{prefix}_kurtosis": self.fourth / self.sd**4}


def moments(windows: Float32) -> Moments:
    """Of filtered windows (w, t)."""
    if compiled.available():
        windows = np.ascontiguousarray(windows)
        lowest, highest, second, third, fourth = (np.empty(len(windows), np.float32) for _ in range(5))
        compiled.call("moments", windows, *windows.shape, lowest, highest, second, third, fourth)
    else:
        lowest, highest = windows.min(axis=1), windows.max(axis=1)
        centred = windows - windows.mean(axis=1, keepdims=True)
        squared = centred * centred
        second, third, fourth = (power.mean(axis=1) for power in (squared, squared * centred, squared * squared))
    return Moments(lowest, highest, np.sqrt(second), third, fourth)


def ecg_reasons(columns: dict[str, Float32]) -> NDArray[np.uint8]:
    """Why each window's ECG is not usable, 0 where it is."""
    return _first_reason(
        (columns["ecg_missing_share"] > MAXIMUM_MISSING_SHARE, Reason.MISSING_SAMPLES),
        (columns["ecg_flat_share"] >= MAXIMUM_FLAT_SHARE, Reason.DISCONNECTED),
        (columns["ecg_clipped_share"] >= MAXIMUM_CLIPPED_SHARE, Reason.CLIPPING),
        (columns["ecg_noise_share"] > MAXIMUM_ECG_NOISE_SHARE, Reason.NOISE),
    )


def ppg_reasons(columns: dict[str, Float32]) -> NDArray[np.uint8]:
    """Why each window's PPG is not present, 0 where it is."""
    return _first_reason(
        (columns["ppg_missing_share"] > MAXIMUM_MISSING_SHARE, Reason.MISSING_SAMPLES),
        (columns["ppg_flat_share"] >= MAXIMUM_FLAT_SHARE, Reason.DISCONNECTED),
        (columns["ppg_clipped_share"] >= MAXIMUM_CLIPPED_SHARE, Reason.CLIPPING),
        (~(columns["ppg_pulse_share"] >= MINIMUM_PULSE_SHARE), Reason.NO_PULSE),
    )


def window_reasons(require: str, ecg: NDArray[np.uint8], ppg: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Why each window is rejected, 0 where kept, from its signals' reasons and ``data.require``.

    A PPG that is recorded but has no pulse, or that the monitor shows as a constant for lack of one, may
    be asystole or shock: with ``both`` the window stays for its ECG.
    """
    if require == "ecg":
        return ecg.copy()
    if require == "ppg":
        return ppg.copy()
    if require == "both":
        pulseless = np.isin(ppg, (Reason.NO_PULSE, Reason.DISCONNECTED))
        return np.where(ecg != Reason.KEPT, ecg, np.where(pulseless, Reason.KEPT, ppg)).astype(np.uint8)
    return np.where((ecg == Reason.KEPT) | (ppg == Reason.KEPT), Reason.KEPT, _more_telling(ecg, ppg)).astype(np.uint8)


def _more_telling(ecg: NDArray[np.uint8], ppg: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The ECG's reason, unless it only says that there is no ECG."""
    return np.where(np.isin(ecg, (Reason.NO_CHANNEL, Reason.GAP)) & (ppg != Reason.NO_CHANNEL), ppg, ecg)


def _first_reason(*tests: tuple[NDArray[np.bool_], Reason]) -> NDArray[np.uint8]:
    return np.select([t for t, _ in tests], [int(r) for _, r in tests], int(Reason.KEPT)).astype(np.uint8)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> Float32:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0).astype(np.float32)
