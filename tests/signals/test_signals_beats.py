"""Beats against annotators and monitors, on real recordings at the dataset's rate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgconsole.config import Config
from ecgconsole.signals import beats
from ecgconsole.signals.filtering import mirrored, rate_ratio, resample, spectrum
from ecgconsole.signals.headers import read_record
from ecgconsole.signals.reading import read_channel
from ecgconsole.signals.rows import geometry_of
from ecgconsole.signals.windows import candidate_windows, extract

from .records import ecg_and_ppg

GEOMETRY = geometry_of(125.0, 10.0, (0.5, 40.0), (0.5, 8.0))
SIZE = GEOMETRY.windows * GEOMETRY.samples
TOLERANCE_S = 0.15

Annotated = Callable[[str], tuple[NDArray, NDArray, list[tuple[float, float]]]]


def detect(span: NDArray[np.float32], find: Callable = beats.r_peaks) -> NDArray[np.float64]:
    """Beats of a span in seconds, row by row as the dataset is built."""
    starts = range(0, len(span), SIZE)
    rows = np.stack([mirrored(span, a - GEOMETRY.context, a - GEOMETRY.context + GEOMETRY.n) for a in starts])
    found = find(spectrum(rows), GEOMETRY.n, 125.0)
    time_s = found.time_s - GEOMETRY.context / 125
    inside = (time_s >= 0) & (time_s < SIZE / 125)
    time_s = (time_s + found.row * SIZE / 125)[inside]
    return time_s[time_s < len(span) / 125]


def matched(found: NDArray, truth: NDArray) -> int:
    """Beats that pair up within the tolerance, each used once, in time order."""
    i = j = pairs = 0
    while i < len(found) and j < len(truth):
        if abs(found[i] - truth[j]) <= TOLERANCE_S:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif found[i] < truth[j]:
            i += 1
        else:
            j += 1
    return pairs


def sensitivity_and_predictivity(
    root: Path, folder: str, channels: tuple[str, ...], annotated: Annotated
) -> tuple[float, float, int]:
    pairs = truths = founds = 0
    for path in sorted((root / folder).glob("*.hea")):
        record = f"{folder}/{path.stem}"
        header = read_record(root, record)
        names = [s.name for s in header.segments[0].signals]
        channel = next(names.index(c) for c in channels if c in names)
        physical = read_channel(root, record, header.segments[0], channel).physical
        span, _ = resample(physical, 0, rate_ratio(header.sampling_rate_hz, 125.0))
        truth, _, flutter = annotated(record)
        found = detect(span)
        for start, stop in flutter:
            truth = truth[(truth < start) | (truth > stop)]
            found = found[(found < start) | (found > stop)]
        pairs += matched(found, truth)
        truths += len(truth)
        founds += len(found)
    return pairs / truths, pairs / founds, truths


def test_r_peaks_of_mitdb(real_data: Path, annotated: Annotated) -> None:
    sensitivity, predictivity, n = sensitivity_and_predictivity(real_data, "mitdb", ("MLII",), annotated)
    assert n > 45_000
    assert min(sensitivity, predictivity) >= 0.996, (sensitivity, predictivity)


def test_r_peaks_of_cpsc2021_on_which_nothing_was_tuned(real_data: Path, annotated: Annotated) -> None:
    sensitivity, predictivity, n = sensitivity_and_predictivity(real_data, "cpsc2021", ("II",), annotated)
    assert n > 5_000
    assert sensitivity >= 0.995, sensitivity
    assert predictivity >= 0.99, predictivity


def test_rates_of_bidmc_agree_with_the_monitor(real_data: Path, config: Callable[..., Config]) -> None:
    """Better than XQRS (92.9 %) and than a plain peak finder on the PPG (80 %), within 5 beats a minute.

    The invented gaps shift the clock: the monitor's numerics run on without them.
    """
    settings = config(data={"require": "either"})
    close = {"heart_rate_bpm": [], "pulse_rate_bpm": []}
    for path in sorted((real_data / "bidmc-matched").rglob("*n.hea")):
        record = str(path.relative_to(real_data))[:-5]
        header, numerics = read_record(real_data, record), read_record(real_data, record + "n").segments[0]
        names = [s.name for s in numerics.signals]
        monitor = {
            column: read_channel(real_data, record + "n", numerics, names.index(name)).physical
            for column, name in (("heart_rate_bpm", "HR"), ("pulse_rate_bpm", "PULSE"))
        }
        for batch in extract(real_data, header, candidate_windows(header, settings), settings):
            gaps_s = np.where(batch.start_sample < header.segments[0].stop_sample, 2, 14)
            first = np.rint(batch.start_seconds - gaps_s).astype(int)
            for kind, (column, values) in enumerate(monitor.items()):
                present = batch.present[:, kind]
                truth = np.array([np.nanmedian(values[a : a + 11]) for a in first[present]])
                close[column] += (np.abs(batch.rhythm[column][present] - truth)[np.isfinite(truth)] <= 5).tolist()
    shares = {column: np.mean(hits) for column, hits in close.items()}
    assert min(len(hits) for hits in close.values()) > 1_000
    assert shares["heart_rate_bpm"] > 0.929
    assert shares["pulse_rate_bpm"] > 0.80


@pytest.mark.parametrize("bpm", [35, 60, 110, 190])
@pytest.mark.parametrize("gain", [1.0, -1.0, 0.01, 300.0])
def test_regular_beats_are_all_found_at_any_rate_polarity_and_scale(bpm: float, gain: float) -> None:
    ecg, ppg = ecg_and_ppg(120, bpm=bpm)
    truth = np.arange(0.3, 120, 60 / bpm)
    found = detect((ecg * gain).astype(np.float32))
    assert len(found) == len(truth)
    assert np.abs(found - truth).max() < 0.02
    if gain > 0:
        pulses = detect((ppg * gain).astype(np.float32), beats.pulses)
        # The pulse of a last beat lies beyond the span; half a pulse at its ends may count or not.
        assert abs(len(pulses) - len(truth)) <= 2
        assert np.abs(np.diff(pulses) - 60 / bpm).max() < 0.05


def test_a_row_has_the_same_beats_whatever_rows_are_beside_it() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([ecg_and_ppg(GEOMETRY.n / 125, bpm=b, seed=i)[0] for i, b in enumerate((40, 80, 160))])
    rows = np.concatenate([rows, rng.normal(size=(1, GEOMETRY.n))]).astype(np.float32)
    together = beats.r_peaks(spectrum(rows), GEOMETRY.n, 125.0)
    for i in range(len(rows)):
        alone = beats.r_peaks(spectrum(rows[i : i + 1]), GEOMETRY.n, 125.0)
        np.testing.assert_allclose(together.time_s[together.row == i], alone.time_s, atol=1e-4)


def test_silence_and_constants_have_no_beats() -> None:
    for value in (0.0, 5.0):
        rows = np.full((2, GEOMETRY.n), value, np.float32)
        assert len(beats.r_peaks(spectrum(rows), GEOMETRY.n, 125.0).time_s) == 0
        assert len(beats.pulses(spectrum(rows), GEOMETRY.n, 125.0).time_s) == 0


def test_maxima_are_those_that_no_higher_one_silences() -> None:
    rng = np.random.default_rng(0)
    bumps = rng.random((3, 400)).astype(np.float32)
    row, position, height = beats._maxima(bumps, 15)
    for i in range(3):
        values = bumps[i]
        peaks = [j for j in range(1, 399) if values[j] > values[j - 1] and values[j] >= values[j + 1]]
        kept: list[int] = []
        for j in sorted(peaks, key=lambda j: -values[j]):
            if all(abs(j - k) > 15 for k in kept):
                kept.append(j)
        np.testing.assert_allclose(position[row == i], sorted(kept), atol=0.5)
        np.testing.assert_array_equal(height[row == i], values[sorted(kept)])
