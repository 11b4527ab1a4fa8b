"""The mean beat of a window: what the encoders learn morphology from."""

from __future__ import annotations

import numpy as np
import pytest

from ecgconsole.dataset import Dataset
from ecgconsole.training.beat_shape import N_BEAT, N_POINTS, SPAN_S, beat_shape, beat_shapes
from ecgconsole.training.segments import RHYTHM_TARGETS, read_split

from .material import RATE_HZ, heartbeats, write_dataset

POINTS_S = np.linspace(*SPAN_S, N_POINTS, endpoint=False)


def windows(n: int, seed: int = 0, **changes: float) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = [heartbeats(rng, 10, **{"rr_s": 0.8, "rr_cv": 0.05, **changes}) for _ in range(n)]
    ecg = np.array([ecg + 0.01 * rng.standard_normal(len(ecg)) for ecg, _, _ in made], np.float32)
    return ecg, [beats for _, _, beats in made]


def test_it_is_the_mean_of_the_beats_about_their_known_times_and_their_spread():
    ecg, beats_s = windows(5)
    got = beat_shape(ecg, RATE_HZ)
    for row, times_s in enumerate(beats_s):
        whole = times_s[(times_s + SPAN_S[0] > 0.02) & (times_s + SPAN_S[1] < 9.98)]
        at = np.arange(ecg.shape[1]) / RATE_HZ
        cut = np.array([np.interp(t + POINTS_S, at, ecg[row]) for t in whole]) / ecg[row].std()
        assert abs(got[row, :N_POINTS].argmax() - cut.mean(0).argmax()) <= 1
        beside_qrs = np.abs(POINTS_S) > 0.1
        np.testing.assert_allclose(got[row, :N_POINTS][beside_qrs], cut.mean(0)[beside_qrs], atol=0.3)
        spread = np.maximum(cut.std(0), 0.05)[::2]
        np.testing.assert_allclose(np.exp(got[row, N_POINTS:])[beside_qrs[::2]], spread[beside_qrs[::2]], atol=0.15)


def test_polarity_and_gain_do_not_matter():
    ecg, _ = windows(4)
    np.testing.assert_allclose(beat_shape(-3 * ecg, RATE_HZ), beat_shape(ecg, RATE_HZ), atol=1e-3)


def test_one_wide_beat_among_others_shows_in_the_spread():
    ecg, beats_s = windows(1, rr_cv=0.0)
    at_s = np.arange(ecg.shape[1]) / RATE_HZ
    wide = ecg.copy()
    wide[0] += (1.5 * np.exp(-(((at_s - beats_s[0][5] - 0.05) / 0.08) ** 2))).astype(np.float32)
    quiet, ectopic = (np.exp(beat_shape(x, RATE_HZ)[0, N_POINTS:]) for x in (ecg, wide))
    after_r = (POINTS_S[::2] > 0.04) & (POINTS_S[::2] < 0.2)
    assert ectopic[after_r].mean() > 2 * quiet[after_r].mean()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_flat_line_has_none(level):
    assert np.isnan(beat_shape(np.full((3, 1250), level, np.float32), RATE_HZ)).all()
    assert beat_shape(np.empty((0, 1250), np.float32), RATE_HZ).shape == (0, N_BEAT)


def test_a_window_does_not_depend_on_those_beside_it():
    ecg, _ = windows(6)
    np.testing.assert_allclose(beat_shape(ecg[2:3], RATE_HZ), beat_shape(ecg, RATE_HZ)[2:3], atol=1e-5)


def test_a_split_carries_them_after_the_rhythm_columns(tmp_path):
    with Dataset(write_dataset(tmp_path / "full_dataset.h5")) as dataset:
        without, with_beats = read_split(dataset, "train"), read_split(dataset, "train", with_beats=True)
        assert without.rhythm.shape[1] == len(RHYTHM_TARGETS)
        np.testing.assert_array_equal(with_beats.rhythm[:, : len(RHYTHM_TARGETS)], without.rhythm)
        np.testing.assert_array_equal(
            with_beats.rhythm[:, len(RHYTHM_TARGETS) :], beat_shapes(dataset, with_beats.rows)
        )
